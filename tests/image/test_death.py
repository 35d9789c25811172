"""The image when something ends it, kills a part of it, or takes its memory away."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from entrypoint.settings import WAITING_PER_THREAD
from tests.running import ROOT, Container, container, wait_for

pytestmark = pytest.mark.docker

# the sample with what it lacks: requests that take time, or memory
APP = """
import os, threading
from flask import request
from app import create_app

app = create_app()

@app.get("/wait")
def wait():
    os.close(os.open(f"/dev/shm/{request.args['name']}", os.O_CREAT))
    threading.Event().wait(float(request.args["seconds"]))
    return "waited"

@app.get("/allocate")
def allocate():
    return str(len(bytearray(os.urandom(1024)) * 1024 * int(request.args["mb"])))

@app.before_request
def slow_ping():
    if request.path == "/ping" and os.path.exists("/dev/shm/slow"):
        threading.Event().wait(3)
"""


@pytest.fixture
def start(image, tmp_path):
    """Starts the image with the application above."""
    file = tmp_path / "hello.py"
    file.write_text(APP)
    file.chmod(0o644)
    return lambda *options: container("-v", f"{file}:/app/hello.py:ro", *options, APP_MODULE="hello:app")


def items(running):
    answer = running.get("/item?limit=100")
    assert answer.status == 200, answer
    return {item["id"]: item for item in answer.json["items"]}


def put(running, content="") -> int:
    return running.api("PUT", "/item", {"title": "an item", "content": content}).status


def test_docker_stop_answers_what_is_under_way(start):
    with start() as running, ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(running.get, f"/wait?seconds=2&name=request-{n}") for n in range(8)]
        wait_for(lambda: running.exec("sh", "-c", "ls /dev/shm").count("request-") == 8)
        begin = time.monotonic()
        # without a time of its own: after ten seconds Docker kills
        subprocess.run(["docker", "stop", running.id], check=True, capture_output=True, timeout=60)
        assert time.monotonic() - begin < 10
        assert [future.result().status for future in asked] == [200] * 8
        assert running.inspect("State.ExitCode") == 0


def test_a_stop_right_after_the_start_is_heard(image):
    """Before Python can handle signals, too."""
    running = Container()
    try:
        begin = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - begin < 10
    finally:
        running.remove()


def test_a_stop_right_after_the_prestart_is_heard(image, tmp_path):
    """Python begins once more then."""
    file = tmp_path / "prestart.sh"
    file.write_text("{ until grep -q python /proc/1/comm; do :; done; kill 1; } &\n")
    file.chmod(0o644)
    running = Container("-v", f"{file}:/app/prestart.sh:ro")
    try:
        assert running.wait_exit() == 0
    finally:
        running.remove()


VICTIMS = ("gunicorn master", "gunicorn worker", "nginx master", "nginx worker")


def find(running, victim):
    """Pids, as this machine sees them."""
    program, role = victim.split()
    first = running.inspect("State.Pid")
    return [
        process["pid"]
        for process in running.processes()
        if program in process["argv"] and (process["ppid"] == first) == (role == "master")
    ]


def settled(running):
    """Wait until nothing is left of a program that died, and every program has its workers."""
    workers = int(re.search(r"(\d+) workers: ", running.messages()[0])[1])

    def alone():
        found = {what: len(find(running, what)) for what in VICTIMS}
        one = found["gunicorn master"] == found["nginx master"] == 1
        return one and found["gunicorn worker"] == workers and found["nginx worker"]

    wait_for(alone, 30, "one of each program")


def complete(running, count):
    """Whether there are so many processes, and none is dead."""
    processes = running.processes()
    return len(processes) == count and all(process["state"] != "Z" for process in processes)


def kill_one(running, victim):
    """Kill the first of these, and return when it is replaced and the service answers."""
    settled(running)
    count = len(running.processes())
    killed = find(running, victim)[0]
    os.kill(killed, signal.SIGKILL)

    wait_for(
        lambda: (now := find(running, victim)) and killed not in now and running.answers(), 10, f"{victim} is back"
    )
    settled(running)
    wait_for(lambda: complete(running, count), 10, "as many processes as before, and no zombie")


@pytest.fixture(scope="module")
def victim_container(image):
    with container() as running:
        yield running


@pytest.mark.parametrize("victim", VICTIMS)
def test_what_is_killed_comes_back_and_no_item_is_lost(victim_container, victim):
    running = victim_container
    settled(running)
    assert put(running) == 201
    before, count = items(running), len(running.processes())
    killed = find(running, victim)
    if victim.endswith("master"):
        # what a dead one leaves behind still holds the port, and goes even if it is stopped
        os.kill(find(running, victim.replace("master", "worker"))[0], signal.SIGSTOP)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    wait_for(
        lambda: (new := find(running, victim)) and not set(new) & set(killed) and running.answers(),
        running.back_seconds,
        f"{victim} is back",
    )
    settled(running)
    wait_for(lambda: complete(running, count), 10, "as many processes as before, and no zombie")
    assert items(running) == before
    assert put(running) == 201


def test_a_killed_health_check_is_only_one_that_failed(start):
    with start("--health-interval", "300ms") as running:
        wait_for(lambda: running.inspect("State.Health.Status") == "healthy", 20)
        settled(running)
        count = len(running.processes())
        running.exec("touch", "/dev/shm/slow")

        def failed():
            """Whether Docker has seen one fail; the one that was found may just have ended well."""
            failures = running.inspect("State.Health.FailingStreak")
            for pid in in_container(running, "entrypoint.healthcheck") if not failures else []:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return failures

        wait_for(failed)
        assert running.inspect("State.Health.Status") == "healthy"
        running.exec("rm", "/dev/shm/slow")
        wait_for(lambda: running.inspect("State.Health.FailingStreak") == 0)
        wait_for(lambda: complete(running, count))


def in_container(running, word):
    """Pids of all its processes that have `word` in their arguments, also of those that Docker started beside the first."""
    lines = subprocess.run(["docker", "top", running.id, "-eo", "pid,args"], capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in lines.splitlines() if word in line]


def test_a_worker_that_is_out_of_memory_comes_back_and_the_others_go_on(start):
    with start("--memory", "256m", "--memory-swap", "256m", "-e", "WEB_CONCURRENCY=2") as running:
        settled(running)
        assert put(running) == 201
        before, workers = items(running), set(find(running, "gunicorn worker"))
        others = {process["pid"] for process in running.processes()} - workers
        statuses: list[int] = []
        done = threading.Event()

        def keep_asking():
            while not done.is_set():
                statuses.append(running.get("/item").status)

        with ThreadPoolExecutor(1) as threads:
            asking = threads.submit(keep_asking)
            assert running.get("/allocate?mb=1024").status == 502
            wait_for(
                lambda: len(set(find(running, "gunicorn worker")) - workers) == 1, running.back_seconds, "a new worker"
            )
            done.set()
            asking.result()
        # requests that were with the dead worker are lost with it, and said to be
        assert statuses.count(200) >= len(statuses) - 4
        assert set(statuses) <= {200, 502}
        assert items(running) == before
        assert others <= {process["pid"] for process in running.processes()}
        wait_for(
            lambda: [line for line in running.messages() if "Perhaps out of memory?" in line], 5, "the log says so"
        )


def fill(running, directory):
    running.exec("dd", "if=/dev/zero", f"of={directory}/full", "bs=4k", check=False)
    assert running.exec("df", "--output=avail", directory).split()[-1] == "0"


def test_a_full_shared_memory_costs_only_new_items(start):
    with start() as running:
        assert put(running) == 201
        before = items(running)
        fill(running, "/dev/shm")
        assert put(running, "x" * 10_000) == 507
        assert items(running) == before
        assert running.answers()
        for victim in VICTIMS:
            kill_one(running, victim)
        assert items(running) == before
        running.exec("rm", "/dev/shm/full")
        assert put(running, "x" * 10_000) == 201
        assert running.stop() == 0


def test_a_full_tmp_costs_only_large_bodies(start):
    with start("--tmpfs", "/tmp:size=1m") as running:
        fill(running, "/tmp")
        large = running.api("PUT", "/item", {"title": "large", "content": "x" * 60_000})
        assert large.status == 500
        assert large.headers["Content-Type"] == "application/problem+json"
        assert large.json["status"] == 500
        assert put(running) == 201
        for victim in VICTIMS:
            kill_one(running, victim)
        running.exec("rm", "/tmp/full")
        assert put(running, "x" * 60_000) == 201


def test_clients_that_do_not_read_leave_nginx_its_memory(image):
    """There are no more connections than memory holds, even if each has an answer that nobody takes."""
    with container("--memory", "256m", "--memory-swap", "256m", host=True) as running:
        large = running.api("PUT", "/item", {"title": "large", "content": "€" * 65_536}).headers["Location"]
        before = set(find(running, "nginx worker"))
        attack = [sys.executable, "-m", "bench.attack_connections", "read", str(running.port), "10000", "10"]
        done = subprocess.run(
            [*attack, "--rate", "600", "--path", large], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        most = int(re.search(r"at_most=(\d+)", done.stdout)[1])
        assert most > 2_000, done
        assert before <= set(find(running, "nginx worker"))
        wait_for(running.answers)


def test_limits_and_workers_are_said_at_the_start(image):
    """cgroup v1 or v2, whichever this machine has."""
    with container("--cpus", "1.5", "--memory", "512m") as running:
        assert "2 workers: 1.5 CPUs, 512 MiB" in running.messages()[0]
        wait_for(lambda: len(find(running, "gunicorn worker")) == 2)
    with container("--memory", "140m") as running:
        assert "1 workers: " in running.messages()[0]
        wait_for(lambda: len(find(running, "gunicorn worker")) == 1)


def test_gunicorn_arguments_win(image):
    with container(GUNICORN_CMD_ARGS="--workers 3 --threads 2", WEB_CONCURRENCY="1") as running:
        assert "3 workers: GUNICORN_CMD_ARGS" in running.messages()[0]
        assert f"{3 * 2 * WAITING_PER_THREAD} requests at a time" in running.messages()[0]
        wait_for(lambda: len(find(running, "gunicorn worker")) == 3)
