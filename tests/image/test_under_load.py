"""Short versions of bench/rolling.py and bench/chaos.py."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from bench import chaos, rolling
from tests.running import Container

pytestmark = pytest.mark.docker


@pytest.fixture
def haproxy():
    """Debian's, installed when it is missing."""
    if not shutil.which("haproxy") and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(
            "apt-get update -q && apt-get install -qy --no-install-recommends haproxy", shell=True, check=False
        )
    if not shutil.which("haproxy"):
        pytest.skip("haproxy is missing (Debian: apt-get install haproxy)")


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
        assert len(seen["kills"]) == 4, "one of each, or choose another seed"
        assert seen["outcomes"]["201"] > 50
        assert running.stop() == 0
    finally:
        running.remove()
