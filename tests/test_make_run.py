"""`make run` and `make token`, as the README and CONTRIBUTING.md have them, with and without a Docker engine."""

from __future__ import annotations

import os
import re
import signal
import subprocess

import pytest

from tests.api import http_api
from tests.running import ROOT, free_port, wait_for


@pytest.mark.parametrize("engine", [pytest.param("with", marks=pytest.mark.docker), "without"])
def test_make_run_serves_all_three_collections_without_an_aws_account(engine, tmp_path):
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "COGNITO_"))}
    environment |= {"PORT": str(port), "LOCAL_AWS_PORT": str(free_port()), "COMPOSE_PROJECT_NAME": f"run-{port}"}
    if engine == "without":
        (environment["DOCKER_HOST"],) = re.findall(
            r"`DOCKER_HOST=(\S+) make run`", (ROOT / "CONTRIBUTING.md").read_text()
        )
    api = http_api(f"http://127.0.0.1:{port}")

    def answers():
        assert running.poll() is None, (tmp_path / "output").read_text()
        try:
            return api("GET", "/ping").status == 200
        except OSError:
            return False

    with (tmp_path / "output").open("wb") as output:
        running = subprocess.Popen(
            ["make", "run"], cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        # the image of the local AWS is built first
        wait_for(answers, 600, "make run answers")
        token = subprocess.run(
            ["make", "--silent", "token", "USER=bob"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for path in ("/item", "/db-item", "/authenticated-item"):
            headers = {"Authorization": f"Bearer {token}"} if path == "/authenticated-item" else {}
            created = api("PUT", path, {"title": "a", "content": ""}, headers=headers)
            assert created.status == 201, created.body
            assert api("GET", created.headers["Location"], headers=headers).json == created.json
        assert api("GET", "/authenticated-item").status == 401
        if engine == "without":
            # as an editor that saves it; it stays as it is
            (ROOT / "app/wsgi.py").touch()
            wait_for(lambda: "Worker reloading" in (tmp_path / "output").read_text())
            wait_for(answers, 20)
        said = "No Docker engine answers: running as processes of this machine" in (tmp_path / "output").read_text()
        assert said == (engine == "without")
    finally:
        os.killpg(running.pid, signal.SIGINT)
        running.wait(60)
        if engine == "with":
            down = ["docker", "compose", "down", "--rmi", "local"]
            subprocess.run(down, cwd=ROOT, env=environment, capture_output=True, timeout=120)


def test_an_engine_without_compose_is_of_no_use(tmp_path):
    for name, script in {"docker": '[ "$1" = info ]', "make": "exit 3"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["local/run"], cwd=ROOT, env=environment, capture_output=True, text=True)
    # what would install the tools was called
    assert done.returncode == 3
    assert done.stderr.startswith("Docker has no compose plugin: running as processes of this machine")
