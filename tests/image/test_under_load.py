"""Short versions of bench/rolling.py, bench/chaos.py and bench/soak.py."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from bench import chaos, rolling, soak
from bench.peers import containers
from tests.running import Container

pytestmark = pytest.mark.docker


def installed(program, package):
    """Skips where Debian's package is missing and cannot be installed."""
    if not shutil.which(program) and os.geteuid() == 0 and shutil.which("apt-get"):
        install = f"apt-get update -q && apt-get install -qy --no-install-recommends {package}"
        subprocess.run(install, shell=True, check=False)
    if not shutil.which(program):
        pytest.skip(f"{program} is missing (Debian: apt-get install {package})")


@pytest.fixture
def haproxy():
    installed("haproxy", "haproxy")


@pytest.fixture
def wrk():
    installed("wrk", "wrk")


def test_a_rolling_replacement_fails_no_request(image, haproxy):
    seen, failures = rolling.run(replacements=2, requests=500, told=False, seed=1)
    assert failures == []
    assert seen["requests"] >= 500
    assert {answer.split()[0] for answer in seen["answers"]} == {"GET", "PUT", "POST", "DELETE"}


def test_random_kills_lose_nothing(image):
    running = Container(host=True, WEB_CONCURRENCY="2")
    try:
        running.wait_ready()
        seen, wrong = chaos.run(running, kills=10, seconds=12, seed=1)
        assert wrong == []
        assert sum(seen["kills"].values()) == 10
        assert seen["kills"].keys() == {"gunicorn master", "gunicorn worker", "nginx master", "nginx worker"}
        assert seen["outcomes"]["201"] > 50
        assert running.stop() == 0
    finally:
        running.remove()


def test_memory_does_not_grow(image, wrk):
    container = soak.start()
    with containers.running({"soak": container}):
        seen, wrong = soak.run(container, requests=20_000, first=10_000)
    assert wrong == []
    assert set(seen["answers"]) == {"200", "201", "204", "304", "400", "401", "404", "405", "415", "422"}
