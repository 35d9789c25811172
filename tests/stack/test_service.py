"""The programs together: what runs, who listens, what every worker sees."""

from __future__ import annotations

import functools
import os
import re
import signal
import stat
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from tests.running import Stack, stack, wait_for


def workers(running: Stack) -> list[int]:
    """The pids of the Gunicorn workers."""
    gunicorns = [process for process in running.processes() if "gunicorn --config" in process["argv"]]
    pids = {process["pid"] for process in gunicorns}
    return [process["pid"] for process in gunicorns if process["ppid"] in pids]


def listening_inodes() -> set[str]:
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return {fields[9] for fields in lines if fields[3] == "0A"}


def listens(pid: int) -> bool:
    sockets = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()]
    return any(f"socket:[{inode}]" in sockets for inode in listening_inodes())


def test_the_first_line_says_what_each_nginx_worker_takes(running_stack):
    upstreams = (running_stack.run_dir / "run/nginx/upstream.conf").read_text()
    (most,) = set(re.findall(r"max_conns=(\d+)", upstreams))
    assert re.search(rf"each with \d+ connections and {most} requests at a time$", running_stack.messages()[0])


def test_nginx_is_the_only_one_that_listens_on_a_port(running_stack):
    processes = [*running_stack.processes(), {"pid": running_stack.process.pid, "argv": "entrypoint"}]
    listeners = {process["argv"].split(":")[0] for process in processes if listens(process["pid"])}
    assert listeners == {"nginx"}


def test_gunicorn_listens_on_a_socket_for_its_own_user_and_group(running_stack):
    mode = (running_stack.run_dir / "run" / "gunicorn.sock").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660


def test_gunicorn_listens_nowhere_else(running_stack):
    """Neither for gunicornc, by which others of the same user could control it."""
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    listening = {f"socket:[{fields[6]}]": fields[-1] for fields in lines if fields[3] == "00010000"}
    gunicorns = [process["pid"] for process in running_stack.processes() if "gunicorn --config" in process["argv"]]
    opened = {os.readlink(path) for pid in gunicorns for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()}
    assert {listening[name] for name in opened & set(listening)} == {f"{running_stack.run_dir}/run/gunicorn.sock"}


def test_two_workers_serve(running_stack):
    wait_for(lambda: len(workers(running_stack)) == 2)


def test_gunicorn_gives_way_to_nginx_but_none_is_interrupted(running_stack):
    nginx = [process["pid"] for process in running_stack.processes() if process["argv"].startswith("nginx")]
    assert {os.sched_getscheduler(pid) for pid in [*nginx, *workers(running_stack)]} == {os.SCHED_BATCH}
    first = max(os.getpriority(os.PRIO_PROCESS, pid) for pid in nginx)
    assert all(os.getpriority(os.PRIO_PROCESS, pid) > first for pid in workers(running_stack))


def arenas(pid: int) -> int:
    """How many areas beside the first glibc has taken memory for this process from: on 64 bits each is 64 MiB apart."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    ranges = [(line.split()[1], int(line.split("-")[0], 16)) for line in maps if len(line.split()) == 5]
    return sum(
        mode == "rw-p" and begin % 2**26 == 0 and rest == "---p" for (mode, begin), (rest, _) in pairwise(ranges)
    )


@pytest.mark.parametrize(("environment", "most"), [({}, 1), ({"MALLOC_ARENA_MAX": "1"}, 0)])
def test_threads_share_memory_unless_the_environment_says_otherwise(environment, most):
    with stack(WEB_CONCURRENCY="1", **environment) as running:
        put = functools.partial(running.api, "PUT", "/item", {"title": "large", "content": "x" * 40_000})
        with ThreadPoolExecutor(16) as threads:
            assert {answer.status for answer in threads.map(lambda _: put(), range(400))} == {201}
        (worker,) = workers(running)
        assert arenas(worker) == most


def test_every_worker_sees_the_same_items():
    """1,000 items over 16 connections, a worker killed every 200 requests: what was answered with 201 is there."""
    with stack() as running:
        counter, lock, created = iter(range(10_000)), threading.Lock(), {}

        def put(n: int) -> None:
            id = str(uuid.UUID(int=n))
            with lock:
                if next(counter) % 200 == 199:
                    os.kill(workers(running)[0], signal.SIGKILL)
            for _ in range(50):
                try:
                    answer = running.api("PUT", f"/item/{id}", {"title": f"{n}", "content": "x" * n})
                except OSError:
                    continue
                if answer.status in (200, 201):
                    created[id] = answer
                    return
                assert answer.status in (502, 503), answer
            raise AssertionError("not created within 50 attempts")

        with ThreadPoolExecutor(16) as threads:
            list(threads.map(put, range(1, 1001)))
            answers = list(threads.map(lambda id: running.api("GET", f"/item/{id}"), created))
        assert len(created) == 1000
        for id, answer in zip(created, answers, strict=True):
            assert answer.status == 200
            assert answer.json["title"] == str(uuid.UUID(id).int)

        seen, cursor = [], ""
        while cursor is not None:
            page = running.api("GET", f"/item?limit=7{cursor}").json
            seen += [item["id"] for item in page["items"]]
            cursor = page["next"] and f"&cursor={page['next']}"
        assert len(seen) == 1000
        assert set(seen) == set(created)

        with ThreadPoolExecutor(16) as threads:
            updated = list(threads.map(lambda id: running.api("POST", f"/item/{id}", {"title": "new"}).status, created))
            deleted = list(threads.map(lambda id: running.api("DELETE", f"/item/{id}").status, created))
        assert set(updated) == {200}
        assert set(deleted) == {204}
        assert running.api("GET", "/item").json == {"items": [], "next": None}


def test_of_two_that_update_the_same_version_one_fails_500_times(running_stack):
    api = running_stack.api
    created = api("PUT", "/item", {"title": "a", "content": ""})
    path, etag = created.headers["Location"], created.etag

    with ThreadPoolExecutor(2) as threads:
        for _ in range(500):
            update = lambda title, etag=etag: api("POST", path, {"title": title}, headers={"If-Match": etag})  # noqa: E731
            answers = list(threads.map(update, ["one", "two"]))
            assert sorted(answer.status for answer in answers) == [200, 412]
            winner = next(answer for answer in answers if answer.status == 200)
            read = api("GET", path)
            assert read.json == winner.json
            etag = read.etag
    assert api("DELETE", path).status == 204


def test_a_full_store_refuses_and_loses_nothing():
    with stack(ITEM_STORE_SIZE="1m") as running:
        content, created = "x" * 60_000, []
        for _ in range(100):
            answer = running.api("PUT", "/item", {"title": "a", "content": content})
            if answer.status != 201:
                break
            created.append(answer.headers["Location"])
        assert answer.status == 507
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert 10 <= len(created) <= 17
        assert all(running.get(path).json["content"] == content for path in created)
        assert running.api("DELETE", created[0]).status == 204
        assert running.api("PUT", "/item", {"title": "a", "content": content}).status == 201
