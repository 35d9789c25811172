"""The image under every restriction that it promises to run under, and the message where it cannot."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.running import Container, container, wait_for

pytestmark = pytest.mark.docker

NO_NEW_PRIVILEGES = ("--security-opt", "no-new-privileges")
# how AWS Fargate is
PORTS_FROM_1024 = ("--sysctl", "net.ipv4.ip_unprivileged_port_start=1024")
READ_ONLY = ("--read-only", "--tmpfs", "/tmp")
DROPPED = ("--cap-drop", "ALL")

RESTRICTIONS = {
    "plain": (),
    "read-only": ("--read-only",),
    "read-only with /tmp": READ_ONLY,
    "no capabilities": DROPPED,
    "no new privileges": NO_NEW_PRIVILEGES,
    "all of these": (*READ_ONLY, *DROPPED, *NO_NEW_PRIVILEGES),
    "another user": ("--user", "12345:0"),
    "another user and group": ("--user", "12345:12345"),
    "another user and all of these": ("--user", "12345:12345", *READ_ONLY, *DROPPED, *NO_NEW_PRIVILEGES),
    "ports from 1024": PORTS_FROM_1024,
    "ports from 1024, read-only": (*PORTS_FROM_1024, *READ_ONLY),
    "ports from 1024, another user": (*PORTS_FROM_1024, "--user", "12345:12345"),
    "128 MiB": ("--memory", "128m"),
    "a quarter of a CPU": ("--cpus", "0.25"),
    "1,024 files": ("--ulimit", "nofile=1024"),
    # threads count as well: on a machine with many CPUs its workers would have more
    "64 processes": ("--pids-limit", "64", "-e", "WEB_CONCURRENCY=2"),
}
# the capability in Nginx's file is what lets it bind the port, and these take it away
NO_PORT_80 = {
    "ports from 1024, no capabilities": (*PORTS_FROM_1024, *DROPPED),
    "ports from 1024, no new privileges": (*PORTS_FROM_1024, *NO_NEW_PRIVILEGES),
}
CASES = [(80, name) for name in RESTRICTIONS] + [(8080, name) for name in RESTRICTIONS | NO_PORT_80]


@pytest.fixture(scope="module")
def seen(request, image):
    """What was seen of each case; all that are asked for run at the same time, three by three."""
    with ThreadPoolExecutor(3) as threads:
        wanted = [item.callspec.params["case"] for item in request.session.items if "seen" in item.fixturenames]
        futures: dict[tuple[int, str], Future] = {case: threads.submit(run, *case) for case in wanted}
        yield futures


def run(port, name):
    """Start the image, use it, stop it."""
    options = (RESTRICTIONS | NO_PORT_80)[name]
    environment = {} if port == 80 else {"PORT": str(port)}
    with container("--health-interval", "1s", *options, inside=port, **environment) as running:
        # larger than what Nginx keeps in memory: it needs a place for a file
        created = running.api("PUT", "/item", {"title": "large", "content": "x" * 60_000})
        wait_for(lambda: running.inspect("State.Health.Status") == "healthy", 20, "HEALTHCHECK")
        pids = [running.inspect("State.Pid"), *(process["pid"] for process in running.processes())]
        return {
            "put": created.status,
            "get": running.get(f"/item/{created.json['id']}").json == created.json,
            "users": {user for pid in pids for user in users(pid)},
            "status": running.stop(),
            "levels": {line["level"] for line in running.log()},
        }


def users(pid):
    """The real, effective, saved and file system user of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return [int(user) for user in status.partition("\nUid:")[2].splitlines()[0].split()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[1]}, {case[0]}")
def test_it_runs_under(seen, case):
    outcome = seen[case].result()
    assert (outcome["put"], outcome["get"], outcome["status"]) == (201, True, 0)
    assert 0 not in outcome["users"]
    assert not outcome["levels"] & {"error", "critical"}


@pytest.mark.parametrize("name", NO_PORT_80)
def test_what_keeps_it_from_port_80_is_said(image, name):
    running = Container(*NO_PORT_80[name])
    try:
        assert running.wait_exit() == 1
        last = running.log()[-1]
        assert (last["level"], last["logger"]) == ("critical", "entrypoint")
        assert "port 80 cannot be bound" in last["message"]
        for change in ("PORT=8080", "--sysctl net.ipv4.ip_unprivileged_port_start=0", "NET_BIND_SERVICE"):
            assert change in last["message"]
    finally:
        running.remove()


def test_a_sandbox_that_refuses_scheduling_policies_is_good_enough(image, tmp_path):
    profile = tmp_path / "seccomp.json"
    refused = {"names": ["sched_setscheduler"], "action": "SCMP_ACT_ERRNO"}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refused]}))
    with container("--security-opt", f"seccomp={profile}") as running:
        assert running.api("PUT", "/item", {"title": "t", "content": ""}).status == 201


def test_nobody_else_can_read_what_it_writes(image):
    """Of the files that the container makes, none is for others, and a secret stands in none."""
    with container(AWS_SECRET_ACCESS_KEY="hush-hush-hush") as running:
        running.api("PUT", "/item", {"title": "large", "content": "x" * 60_000})
        made = "find /dev/shm /tmp -mindepth 1 ! -type l"
        assert running.exec("sh", "-c", made)
        assert running.exec("sh", "-c", f"{made} -perm /007") == ""
        assert running.exec("sh", "-c", "grep -rlF hush-hush-hush /dev/shm /tmp /app", check=False) == ""
        assert "hush-hush-hush" not in running.output()
