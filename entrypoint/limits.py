"""What the container is allowed: CPUs and memory, from its cgroup (v1 or v2) and its CPU affinity."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Limits:
    """CPUs may be a fraction; memory is in bytes, None where nothing limits it."""

    cpus: float
    memory: int | None

    def __str__(self) -> str:
        memory = "no memory limit" if self.memory is None else f"{self.memory // MIB} MiB"
        return f"{self.cpus:g} {'CPU' if self.cpus == 1 else 'CPUs'}, {memory}"


def read_limits(cgroup: Path = Path("/sys/fs/cgroup"), affinity: int | None = None) -> Limits:
    """The limits of this process as the cgroup files mounted at `cgroup` tell them."""
    cpus = float(affinity or len(os.sched_getaffinity(0)))
    quota = _cpu_quota(cgroup)
    if quota:
        cpus = min(cpus, quota)
    # cgroup v1 says "no limit" with a number near 2^63
    memory = _number(cgroup / "memory.max") or _number(cgroup / "memory/memory.limit_in_bytes")
    return Limits(cpus, memory if memory and memory < 2**60 else None)


def _cpu_quota(cgroup: Path) -> float | None:
    words = _read(cgroup / "cpu.max").split()
    if not words:
        words = [_read(cgroup / "cpu" / name).strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
    if len(words) != 2 or not all(word.isdigit() for word in words) or int(words[1]) == 0:
        return None
    return int(words[0]) / int(words[1]) or None


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
