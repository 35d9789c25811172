"""Whole projects go through build.yml and release.yml; what was pushed is pulled again, and answers."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline import aws
from tests.pipeline.aws import Aws
from tests.pipeline.conftest import COMMIT, CodeBuild
from tests.running import ROOT, container, docker

pytestmark = pytest.mark.docker

# what somebody copies into a project of their own
CONTAINER_FILES = (
    "Dockerfile",
    "nginx",
    "supervisord.conf",
    "gunicorn.conf.py",
    "entrypoint",
    "build.yml",
    "release.yml",
)

APPLICATION = """
from flask import Flask

shop = Flask(__name__)


@shop.get("/ping")
def ping():
    return "pong from the shop"
"""


@pytest.fixture
def pulled(codebuild: CodeBuild) -> Iterator[str]:
    """The name of the image that the test pulls after its build; the build's own images are gone by then."""
    url = codebuild.url(COMMIT)
    yield url
    docker("rmi", "-f", url, check=False)


def pull(codebuild: CodeBuild, url: str) -> None:
    codebuild.forget_images()
    docker("pull", url, env=os.environ | {"DOCKER_CONFIG": codebuild.environment["DOCKER_CONFIG"]})


def test_this_project_is_built_released_and_answers(codebuild: CodeBuild, aws_server: Aws, pulled: str) -> None:
    codebuild.directory = ROOT
    build = codebuild.build()
    assert build.succeeded, build.output
    variables = aws_server.service(codebuild.repository, aws.becomes_steady)
    before = aws_server.deployments(codebuild.repository)
    release = codebuild.release(**variables, PREVIOUS_STAGE_NAME=build.exported["IMAGE_TAG"])
    assert release.succeeded, release.output
    assert codebuild.digest("prod") == codebuild.digest(COMMIT) == codebuild.digest("latest") is not None
    assert aws_server.deployments(codebuild.repository)[0]["id"] != before[0]["id"]

    pull(codebuild, pulled)
    with container(image=pulled) as running:
        assert running.get("/ping").body == b"pong\n"


def test_plain_flask_project_with_the_container_files_is_built_and_answers(
    codebuild: CodeBuild, tmp_path: Path, pulled: str
) -> None:
    project = tmp_path / "shop"
    project.mkdir()
    for name in CONTAINER_FILES:
        source = ROOT / name
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, project / name, ignore=ignore) if source.is_dir() else shutil.copy(source, project)
    # as the README says, since build.yml passes no argument
    dockerfile = project / "Dockerfile"
    dockerfile.write_text(re.sub(r"(?m)^ARG APP_MODULE=.*$", "ARG APP_MODULE=shop:shop", dockerfile.read_text()))
    (project / "shop.py").write_text(APPLICATION)
    (project / "requirements.txt").write_text("Flask\n")
    codebuild.directory = project
    build = codebuild.build()
    assert build.succeeded, build.output

    pull(codebuild, pulled)
    with container(image=pulled) as running:
        assert running.get("/ping").body == b"pong from the shop"
