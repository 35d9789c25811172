"""What the container is allowed: CPUs and memory, from its cgroup (v1 or v2) and its CPU affinity."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Limits:
    """CPUs may be a fraction; memory is in bytes."""

    cpus: float
    memory: int

    def __str__(self) -> str:
        return f"{self.cpus:g} {'CPU' if self.cpus == 1 else 'CPUs'}, {self.memory // MIB} MiB"


def read_limits(
    cgroup: Path = Path("/sys/fs/cgroup"), affinity: int | None = None, memory: int | None = None
) -> Limits:
    """The limits of this process as the cgroup files mounted at `cgroup` tell them.

    Where they say nothing, `affinity` CPUs and `memory` bytes: those of the machine that it may use.
    """
    cpus = affinity or len(os.sched_getaffinity(0))
    memory = memory or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    bounds = (
        _number(_read(cgroup / "memory.max")),
        _number(_read(cgroup / "memory/memory.limit_in_bytes")),
        # a limit on several containers together, such as that of an ECS task, is above what the container can see
        _hierarchical_memory_limit(cgroup),
    )
    # "no limit" is "max" in version 2, -1 for CPUs in version 1, and a number near 2^63 for memory
    return Limits(min(float(cpus), _cpu_quota(cgroup) or cpus), min(memory, *(bound or memory for bound in bounds)))


def _cpu_quota(cgroup: Path) -> float | None:
    words = _read(cgroup / "cpu.max").split()
    if not words:
        words = [_read(cgroup / "cpu" / name).strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
    if len(words) != 2 or not all(word.isdigit() for word in words) or int(words[1]) == 0:
        return None
    return int(words[0]) / int(words[1])


def _hierarchical_memory_limit(cgroup: Path) -> int | None:
    fields = (line.split() for line in _read(cgroup / "memory/memory.stat").splitlines())
    return next((_number(field[1]) for field in fields if field[:1] == ["hierarchical_memory_limit"]), None)


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
