"""The local AWS: what compose.yaml says of it is so, and its tokens can be had from a shell."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
import yaml

from local.aws import LocalAws
from tests.running import ROOT


def get_token(*arguments, url):
    command = [sys.executable, "-m", "local.token", *arguments]
    return subprocess.run(command, cwd=ROOT, env={"LOCAL_AWS_URL": url}, capture_output=True, text=True, timeout=30)


def test_compose_gives_the_application_what_the_local_aws_needs(aws):
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    as_services_see_it = {name: value.replace(aws.url, "http://aws:8081") for name, value in aws.environment.items()}
    assert services["app"]["environment"] == as_services_see_it


def test_only_this_machine_reaches_it_unless_told_otherwise(aws):
    """Everybody knows its users' password. It has one of this machine's addresses."""
    port = int(aws.url.rpartition(":")[2])
    with socket.socket() as client:
        client.settimeout(1)
        assert client.connect_ex(("127.0.0.2", port)) != 0


def test_its_packages_are_those_of_the_tests():
    def pins(name):
        lines = (line for line in (ROOT / name).read_text().splitlines() if "==" in line)
        return {line.split("==")[0].split("[")[0]: line.split("==")[1] for line in lines}

    others = pins("requirements.txt") | pins("requirements-dev.txt")
    assert pins("local/requirements.txt").items() <= others.items()


@pytest.mark.parametrize("user", ["alice", "bob"])
def test_a_token_is_all_that_is_printed(aws, service, user):
    done = get_token(user, url=aws.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    headers = {"Authorization": f"Bearer {done.stdout.strip()}"}
    assert service("GET", "/authenticated-item", headers=headers).status == 200


@pytest.mark.parametrize(
    ("arguments", "status", "says"), [((), 2, "usage"), (("alice", "bob"), 2, "usage"), (("mallory",), 1, "mallory")]
)
def test_without_a_token_nothing_is_printed_but_the_reason(aws, arguments, status, says):
    done = get_token(*arguments, url=aws.url)
    assert (done.returncode, done.stdout) == (status, "")
    assert says in done.stderr


def test_a_local_aws_that_does_not_run_is_named():
    done = get_token("alice", url="http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "does not answer at http://127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_is_not_ready_before_everything_is_there(aws):
    statuses = []
    LocalAws(moto=None)({"PATH_INFO": "/local/environment"}, lambda status, _: statuses.append(status))
    assert statuses == ["503 Service Unavailable"]
    with urllib.request.urlopen(f"{aws.url}/local/environment", timeout=10) as answer:
        assert "TABLE_NAME=items\n" in answer.read().decode()


def test_it_stops_when_it_is_told_to():
    from tests.aws import start_local_aws

    running = start_local_aws()
    began = time.monotonic()
    running.stop()
    assert running.process.returncode == 0
    assert time.monotonic() - began < 5
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(running.url, timeout=5)


def test_it_stops_when_it_is_told_so_twice_at_once():
    """Ctrl-C reaches it, and local/run, which tells it again."""
    from tests.aws import start_local_aws

    running = start_local_aws()
    try:
        # in one turn: neither has been handled when the other arrives
        for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
            running.process.send_signal(number)
        assert running.process.wait(10) == 0
    finally:
        running.process.kill()
