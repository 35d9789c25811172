"""The threads that serve requests: long time slices while requests are quick, the usual ones while they compute."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from entrypoint.settings import THREADS
from entrypoint.turns import SLICE
from tests.running import container, wait_for

pytestmark = pytest.mark.docker

APP = """
import time
from app import create_app

app = create_app()

@app.get("/compute")
def compute():
    until = time.thread_time() + 0.02
    while time.thread_time() < until:
        pass
    return "computed"
"""

# policy, nice and slice of every thread of a Gunicorn process, as sched_getattr(2) tells
LOOK = """
import ctypes, glob, json, os, struct
found = []
for path in glob.glob("/proc/[0-9]*/task/*"):
    if b"gunicorn" in open(f"{path}/cmdline", "rb").read() and not path.startswith(f"/proc/{os.getpid()}/"):
        attributes = ctypes.create_string_buffer(48)
        assert not ctypes.CDLL(None).sched_getattr(int(path.split("/")[-1]), attributes, 48, 0)
        found.append(struct.unpack("IIQiIQQQ", attributes.raw))
print(json.dumps([(policy, nice, slice) for _, policy, _, nice, _, slice, _, _ in found]))
"""


def test_slices_are_long_only_while_requests_are_quick(image, tmp_path):
    file = tmp_path / "hello.py"
    file.write_text(APP)
    file.chmod(0o644)
    options = ["-v", f"{file}:/app/hello.py:ro"]
    with container(*options, APP_MODULE="hello:app", WEB_CONCURRENCY="1") as running, ThreadPoolExecutor(4) as clients:

        def long_slices(path):
            """How many threads have them, some requests later."""
            assert all(answer.status == 200 for answer in clients.map(running.get, [path] * 20 * THREADS))
            threads = json.loads(running.exec("python", "-c", LOOK))
            assert {(policy, nice) for policy, nice, _ in threads} == {(os.SCHED_BATCH, 10)}
            assert len(threads) > THREADS
            return [slice for _, _, slice in threads].count(SLICE)

        kernel = tuple(int(number) for number in running.exec("uname", "-r").split(".")[:2])
        if kernel >= (6, 12):
            wait_for(lambda: long_slices("/ping"), 60)
            wait_for(lambda: long_slices("/compute") == 0, 60)
            wait_for(lambda: long_slices("/ping"), 60)
        else:
            assert [long_slices("/ping") for _ in range(10)] == [0] * 10


def test_every_thread_goes_on_where_a_sandbox_refuses(image, tmp_path):
    names = ["sched_getscheduler", "sched_setscheduler", "sched_getattr", "sched_setattr"]
    refused = {"names": names, "action": "SCMP_ACT_ERRNO"}
    profile = tmp_path / "seccomp.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refused]}))
    with container("--security-opt", f"seccomp={profile}", WEB_CONCURRENCY="1") as running:
        # far more than a thread answers before it asks for long slices
        with ThreadPoolExecutor(4) as clients:
            assert all(answer.status == 200 for answer in clients.map(running.get, ["/ping"] * 200 * THREADS))
        assert not [line for line in running.log() if line.get("level") in ("error", "critical")]
