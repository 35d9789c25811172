"""Fixtures: AWS, a registry, and a place to build in, as CodeBuild has them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pipeline.aws import Aws
from tests.pipeline.codebuild import ONE_SHELL, SHELL_EACH, Build, run_build
from tests.pipeline.registry import PASSWORD, USER, Registry
from tests.running import ROOT, docker

REPOSITORY = "app"
BUILD_ID = "the-project:3ae1a8b0-9c3b-4b0e-8f52-0f2c7f1d2a51"
COMMIT = "9f2c0d6b1a7e4f3c8d5b2a1e0f9c8b7a6d5e4f3c"


@pytest.fixture(scope="session")
def aws_server() -> Iterator[Aws]:
    server = Aws()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    running = Registry()
    yield running
    running.stop()


@pytest.fixture
def shells(request: pytest.FixtureRequest) -> str:
    """How the commands share a shell: as the agent does it, unless the test is marked `in_both_ways`."""
    return getattr(request, "param", SHELL_EACH)


in_both_ways = pytest.mark.parametrize("shells", [SHELL_EACH, ONE_SHELL], ids=["agent", "documented"], indirect=True)


@dataclass
class CodeBuild:
    """A build project: `build()` and `release()` run the two files in `directory` with `environment`."""

    directory: Path
    environment: dict[str, str]
    shells: str
    programs: Path
    registry: Registry
    repository: str

    @property
    def home(self) -> Path:
        return Path(self.environment["HOME"])

    def build(self, **environment: str) -> Build:
        return self._run("build.yml", environment)

    def release(self, **environment: str) -> Build:
        return self._run("release.yml", environment)

    def _run(self, spec: str, environment: dict[str, str]) -> Build:
        variables = {name: value for name, value in (self.environment | environment).items() if value}
        return run_build(self.directory / spec, self.directory, variables, self.shells)

    def replace_program(self, name: str, script: str) -> None:
        """Put a shell script before a program on PATH; `$REAL` in it is the program."""
        file = self.programs / name
        real = shutil.which(name, path=self.environment["PATH"].partition(":")[2])
        file.write_text(f"#!/bin/bash\nREAL={real}\n{script}\n")
        file.chmod(0o755)

    def digest(self, tag: str) -> str | None:
        return self.registry.digest(self.repository, tag)

    def url(self, tag: str) -> str:
        return f"{self.registry.endpoint}/{self.repository}:{tag}"

    def push(self, tag: str, content: str) -> str:
        """Push a small image as `tag`, past CodeBuild, and return its digest."""
        context = self.programs.parent / f"image-{uuid.uuid4().hex}"
        context.mkdir()
        (context / "content").write_text(content)
        (context / "Dockerfile").write_text("FROM scratch\nCOPY content /\n")
        config = {"env": os.environ | {"DOCKER_CONFIG": self.environment["DOCKER_CONFIG"]}}
        docker("login", "--username", USER, "--password-stdin", self.registry.endpoint, input=PASSWORD, **config)
        docker("build", "-q", "-t", self.url(tag), str(context))
        docker("push", self.url(tag), **config)
        docker("rmi", self.url(tag))
        (Path(self.environment["DOCKER_CONFIG"]) / "config.json").unlink()
        digest = self.digest(tag)
        assert digest
        return digest

    def forget_images(self) -> None:
        """Remove the names that this project's images have in the engine."""
        repository = f"{self.registry.endpoint}/{self.repository}"
        names = ["builtimage:latest"]
        listed = docker("images", "--digests", "--format", "{{.Tag}} {{.Digest}}", repository)
        for tag, digest in (line.split() for line in listed.splitlines()):
            names.append(f"{repository}@{digest}" if tag == "<none>" else f"{repository}:{tag}")
        for name in names:
            docker("rmi", name, check=False)


@pytest.fixture
def codebuild(tmp_path: Path, aws_server: Aws, registry: Registry, shells: str) -> Iterator[CodeBuild]:
    """A project of somebody else's, with a small Dockerfile of its own and our two files."""
    source, programs, home = tmp_path / "source", tmp_path / "bin", tmp_path / "home"
    for directory in (source, programs, home):
        directory.mkdir()
    for name in ("build.yml", "release.yml"):
        shutil.copy(ROOT / name, source)
    (source / "Dockerfile").write_text("FROM scratch\nCOPY content /\n")
    (source / "content").write_text(uuid.uuid4().hex)
    repository = f"{REPOSITORY}-{uuid.uuid4().hex[:8]}"
    environment = {
        "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "DOCKER_CONFIG": str(home / ".docker"),
        "ECR_ENDPOINT": registry.endpoint,
        "ECR_IMAGE_URL": f"{registry.endpoint}/{repository}",
        "PREVIOUS_STAGE_NAME": "latest",
        "STAGE_NAME": "prod",
        "CODEBUILD_RESOLVED_SOURCE_VERSION": COMMIT,
        "CODEBUILD_BUILD_ID": BUILD_ID,
        "CODEBUILD_BUILD_NUMBER": "7",
        **aws_server.environment,
    }
    if "DOCKER_HOST" in os.environ:
        environment["DOCKER_HOST"] = os.environ["DOCKER_HOST"]
    project = CodeBuild(source, environment, shells, programs, registry, repository)
    # release.yml looks every ten seconds
    project.replace_program("sleep", "exec $REAL 0.05")
    yield project
    project.forget_images()


@pytest.fixture(scope="session", autouse=True)
def aws_command() -> None:
    """The aws command of this Python's environment."""
    done = subprocess.run([Path(sys.executable).parent / "aws", "--version"], capture_output=True)
    assert done.returncode == 0, "the aws command is missing: pip install -r requirements-dev.txt"
