"""CPUs and memory from cgroup trees of both versions, and how many workers follow from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoint.limits import MIB, Limits, read_limits
from entrypoint.settings import Settings, default_workers, socket_queue

UNLIMITED_V1 = "9223372036854771712"


def tree(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return directory


def version_1(quota="-1", period="100000", memory=UNLIMITED_V1, hierarchical=UNLIMITED_V1):
    return {
        "cpu/cpu.cfs_quota_us": f"{quota}\n",
        "cpu/cpu.cfs_period_us": f"{period}\n",
        "memory/memory.limit_in_bytes": f"{memory}\n",
        "memory/memory.stat": f"cache 1\nhierarchical_memory_limit {hierarchical}\nhierarchical_memsw_limit {UNLIMITED_V1}\n",
    }


TREES = {
    "version 2": ({"cpu.max": "150000 100000\n", "memory.max": f"{512 * MIB}\n"}, Limits(1.5, 512 * MIB)),
    "version 2, no limits": ({"cpu.max": "max 100000\n", "memory.max": "max\n"}, Limits(8, 4096 * MIB)),
    "version 2, CPU only": ({"cpu.max": "25000 100000\n", "memory.max": "max\n"}, Limits(0.25, 4096 * MIB)),
    "version 2, host's own cgroup": ({"cgroup.procs": "1\n"}, Limits(8, 4096 * MIB)),
    "version 1": (version_1(quota="300000", memory=str(1024 * MIB)), Limits(3, 1024 * MIB)),
    "version 1, no limits": (version_1(), Limits(8, 4096 * MIB)),
    "version 1, limit of a task": (version_1(hierarchical=str(2048 * MIB)), Limits(8, 2048 * MIB)),
    "version 1, another period": (version_1(quota="10000", period="20000"), Limits(0.5, 4096 * MIB)),
    "more than there is": ({"cpu.max": "6400000 100000\n", "memory.max": str(2**45)}, Limits(8, 4096 * MIB)),
    "no cgroup": ({}, Limits(8, 4096 * MIB)),
    "empty files": ({"cpu.max": "", "memory.max": ""}, Limits(8, 4096 * MIB)),
    "no numbers": ({"cpu.max": "a lot", "memory.max": "-5"}, Limits(8, 4096 * MIB)),
    "a period of nothing": ({"cpu.max": "100000 0\n"}, Limits(8, 4096 * MIB)),
    "a quota of nothing": ({"cpu.max": "0 100000\n"}, Limits(8, 4096 * MIB)),
}


@pytest.mark.parametrize("name", TREES)
def test_limits_of(tmp_path, name):
    files, expected = TREES[name]
    assert read_limits(tree(tmp_path, files), affinity=8, memory=4096 * MIB) == expected


def test_affinity_is_a_limit(tmp_path):
    assert read_limits(tree(tmp_path, version_1(quota="400000")), affinity=2).cpus == 2


def test_this_machine_has_limits():
    limits = read_limits()
    assert limits.cpus > 0
    assert limits.memory > 0


@pytest.mark.parametrize(
    ("cpus", "mib", "workers"),
    [
        (2, 512, 2),
        (4, 4096, 4),
        (2.5, 4096, 3),
        # one that is stuck leaves another
        (0.25, 512, 2),
        (1, 512, 2),
        # memory first
        (2, 128, 1),
        (8, 256, 3),
        (1, 64, 1),
        (64, 65536, 32),
    ],
)
def test_workers_follow_from_limits(cpus, mib, workers):
    assert default_workers(Limits(cpus, mib * MIB)) == workers


@pytest.mark.parametrize(("cpus", "workers"), [(0.25, 1), (2.5, 3), (4, 4), (64, 4)])
def test_nginx_has_a_worker_a_cpu_and_no_more_than_four(cpus, workers):
    assert Settings.from_environment({}, Limits(cpus, 1024 * MIB)).nginx_workers == workers


def settings(**variables):
    return Settings.from_environment(variables, Limits(2, 512 * MIB))


@pytest.mark.parametrize(
    ("variables", "workers", "threads", "reason"),
    [
        ({}, 2, 8, "2 CPUs, 512 MiB"),
        ({"WEB_CONCURRENCY": "5"}, 5, 8, "WEB_CONCURRENCY"),
        ({"GUNICORN_CMD_ARGS": "--workers 3"}, 3, 8, "GUNICORN_CMD_ARGS"),
        ({"GUNICORN_CMD_ARGS": "--workers=3", "WEB_CONCURRENCY": "5"}, 3, 8, "GUNICORN_CMD_ARGS"),
        ({"GUNICORN_CMD_ARGS": "-w 3 --threads 4"}, 3, 4, "GUNICORN_CMD_ARGS"),
        ({"GUNICORN_CMD_ARGS": "-w3 --timeout 90 --worker-class gthread"}, 3, 8, "GUNICORN_CMD_ARGS"),
        ({"GUNICORN_CMD_ARGS": "--threads 4", "WEB_CONCURRENCY": "5"}, 5, 4, "WEB_CONCURRENCY"),
        ({"GUNICORN_CMD_ARGS": "--name 'my api' --worker-tmp-dir /tmp"}, 2, 8, "2 CPUs, 512 MiB"),
        # what is wrong with these, Gunicorn says
        ({"GUNICORN_CMD_ARGS": "--workers many"}, 2, 8, "2 CPUs, 512 MiB"),
        ({"GUNICORN_CMD_ARGS": "--workers"}, 2, 8, "2 CPUs, 512 MiB"),
        ({"GUNICORN_CMD_ARGS": "--name 'open"}, 2, 8, "2 CPUs, 512 MiB"),
    ],
)
def test_what_is_asked_for_wins_and_is_said(variables, workers, threads, reason):
    chosen = settings(**variables)
    assert (chosen.workers, chosen.threads, chosen.workers_reason) == (workers, threads, reason)
    assert chosen.max_waiting == min(workers * threads * 16, socket_queue() // 2 // 2)
