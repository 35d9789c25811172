"""Fixtures: the application, the API in every way it can be reached, and what they need to run."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from xdist.scheduler import LoadScopeScheduling

from tests.api import Api, app_api
from tests.running import IMAGE, ROOT, Container, Stack, docker

COLLECTIONS = ("/item", "/db-item", "/authenticated-item")


def missing_engine() -> str | None:
    """Why no image can be built or run here, or None."""
    if not shutil.which("docker"):
        return "docker is not installed"
    done = subprocess.run(["docker", "info"], capture_output=True, text=True, timeout=60)
    return None if done.returncode == 0 else "no Docker engine answers"


# whose tests share nothing with the others: no container of theirs, no local AWS, no image that others build
APART = ("tests/proxy/", "tests/pipeline/", "tests/layouts/")


class Scheduling(LoadScopeScheduling):
    """Tests that start programs share this machine's engine and CPUs: one after the other, but for those APART.

    Beside them are those of tests/unit, each by itself.
    """

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith("tests/unit/") else next(filter(nodeid.startswith, APART), "programs")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return Scheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    needing = [item for item in items if item.get_closest_marker("docker")]
    reason = missing_engine() if needing else None
    if reason and os.environ.get("REQUIRE_DOCKER") == "1":
        raise pytest.UsageError(f"REQUIRE_DOCKER=1, but {reason}")
    for item in needing if reason else []:
        item.add_marker(pytest.mark.skip(reason=f"image tests need an engine: {reason}"))


@pytest.fixture(scope="session")
def aws() -> Iterator[Any]:
    """The local AWS; its settings are in this process's environment as well, for boto3."""
    from tests.aws import start_local_aws

    running = start_local_aws()
    before = dict(os.environ)
    os.environ.update(running.environment)
    yield running
    os.environ.clear()
    os.environ.update(before)
    running.stop()


@pytest.fixture
def store_directory() -> Iterator[str]:
    """An empty directory on /dev/shm."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/dev/shm") as directory:
        yield directory


@pytest.fixture
def app(store_directory: str) -> Flask:
    """The application without any AWS."""
    from app import create_app
    from app.settings import Settings

    return create_app(Settings.from_environment({"RUN_DIR": store_directory}))


@pytest.fixture
def api(app: Flask) -> Api:
    return app_api(app)


@pytest.fixture(scope="session")
def image() -> str:
    """The image, built as the README says."""
    docker("build", "-t", IMAGE, ".", cwd=ROOT)
    return IMAGE


def _app(aws: Any, request: pytest.FixtureRequest) -> Iterator[Api]:
    from app import create_app
    from app.settings import Settings

    with tempfile.TemporaryDirectory(prefix="t-", dir="/dev/shm") as directory:
        api = app_api(create_app(Settings.from_environment({"RUN_DIR": directory, **aws.environment})))
        # answered when nothing is done in the background any more: boto3 copies the environment there, which fails when
        # pytest changes it for the next part of a test
        token = {"Authorization": f"Bearer {aws.token('alice')}"}
        assert api("GET", "/authenticated-item", headers=token).status == 200
        yield api


def _stack(aws: Any, request: pytest.FixtureRequest) -> Iterator[Api]:
    running = Stack(**aws.environment)
    yield running.wait_ready().api
    running.remove()


def _image(aws: Any, request: pytest.FixtureRequest) -> Iterator[Api]:
    request.getfixturevalue("image")
    running = Container(host=True, **aws.environment)
    yield running.wait_ready().api
    running.remove()


@pytest.fixture(scope="session", params=["app", "stack", pytest.param("image", marks=pytest.mark.docker)])
def service(request: pytest.FixtureRequest, aws: Any) -> Iterator[Api]:
    """The whole API with a local AWS: in this process, as processes, and as a container."""
    yield from {"app": _app, "stack": _stack, "image": _image}[request.param](aws, request)


@pytest.fixture(params=COLLECTIONS)
def collection(request: pytest.FixtureRequest, service: Api, aws: Any) -> SimpleNamespace:
    """One of the three collections: `call(method, suffix, …)` and its `path`. Emptied after the test."""
    headers = {"Authorization": f"Bearer {aws.token('alice')}"} if request.param == "/authenticated-item" else {}
    api = service.with_headers(**headers)
    path = request.param

    def call(method: str, suffix: str = "", *arguments: Any, **options: Any) -> Any:
        return api(method, path + suffix, *arguments, **options)

    request.addfinalizer(lambda: _empty(call))
    return SimpleNamespace(call=call, path=path, api=api)


def _empty(call: Any) -> None:
    while items := call("GET", "?limit=100").json["items"]:
        for item in items:
            call("DELETE", f"/{item['id']}")


@pytest.fixture(scope="session")
def running_stack() -> Iterator[Stack]:
    """The programs as processes of this machine, without AWS, for tests that leave it as it was."""
    running = Stack()
    yield running.wait_ready()
    running.remove()
