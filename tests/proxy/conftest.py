"""Projects with the container's files and an application that shows what the proxy does."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
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


class Gate:
    """Holds the requests for `target` in the application until it is opened."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.target = f"/hold?gate={directory}"

    def wait(self, seconds: float) -> str:
        """A target that is answered after a time, and counted here."""
        return f"/wait?gate={self.directory}&seconds={seconds}"

    def begun(self) -> int:
        """How many requests the application has begun with."""
        file = self.directory / "begun"
        return len(file.read_text()) if file.exists() else 0

    def open(self) -> None:
        (self.directory / "open").touch()


@pytest.fixture
def new_gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Gate]]:
    """Makes gates; all are open in the end."""
    gates: list[Gate] = []

    def new() -> Gate:
        gates.append(Gate(tmp_path_factory.mktemp("gate")))
        return gates[-1]

    yield new
    for gate in gates:
        gate.open()


@pytest.fixture(scope="session")
def shown(project: Path):
    """The programs with default settings and shown.py, for tests that leave them as they were."""
    with stack(project, APP_MODULE="shown:app") as running:
        yield running
