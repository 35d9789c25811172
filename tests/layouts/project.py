"""Projects of other people, with the container's files copied in and not a line of them changed."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from tests.running import ROOT, Container, Running, Stack

PROJECTS = Path(__file__).parent / "projects"
CONTAINER_FILES = ("Dockerfile", "nginx", "supervisord.conf", "gunicorn.conf.py", "entrypoint")


def make_project(layout: str, directory: Path) -> Path:
    """A copy of projects/`layout` in `directory`, with the container's files."""
    shutil.copytree(PROJECTS / layout, directory, dirs_exist_ok=True)
    for name in CONTAINER_FILES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, directory)
    # as a checkout by somebody who lets nobody else read
    for path in directory.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return directory


class _HasPage(Running):
    """An application with a page at / and no /ping."""

    def answers(self) -> bool:
        try:
            return self.get("/").status == 200
        except OSError:
            return False


class ProjectStack(_HasPage, Stack):
    """A project as processes of this machine."""


class ProjectContainer(_HasPage, Container):
    """A project's image, running."""


AnyRunning = TypeVar("AnyRunning", ProjectStack, ProjectContainer)


@contextlib.contextmanager
def running(project: AnyRunning) -> Iterator[AnyRunning]:
    """The project, once it answers; removed afterwards."""
    try:
        yield project.wait_ready()
    finally:
        project.remove()
