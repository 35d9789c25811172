"""Projects with the container's files and an application that shows what the proxy does."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.proxy.application import SHOWN
from tests.proxy.upstreams import RECORDER
from tests.running import ROOT, stack


def container_files(directory: Path) -> Path:
    """Copy what a project takes over into `directory`."""
    for name in ("nginx", "supervisord.conf", "gunicorn.conf.py"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, directory / name)
    (directory / "shown.py").write_text(SHOWN)
    (directory / "recorder.py").write_text(RECORDER)
    return directory


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the container's files, shown.py and recorder.py."""
    return container_files(tmp_path_factory.mktemp("project"))


@pytest.fixture
def changed_project(tmp_path: Path) -> Callable[[str, str, str], Path]:
    """Makes a project with one number of a file replaced, where a test would wait too long for the real one."""

    def change(file: str, directive: str, value: str) -> Path:
        directory = container_files(tmp_path) if not (tmp_path / "nginx").exists() else tmp_path
        path = directory / file
        text, count = re.subn(rf"^{directive} .*;$", f"{directive} {value};", path.read_text(), flags=re.M)
        assert count == 1, f"{directive} is not in {file} once"
        path.write_text(text)
        return directory

    return change


@pytest.fixture(scope="session")
def shown(project: Path):
    """The programs with default settings and shown.py, for tests that leave them as they were."""
    with stack(project, APP_MODULE="shown:app") as running:
        yield running
