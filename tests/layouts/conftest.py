"""Builds the images of the layouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.layouts.project import make_project
from tests.running import docker


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., str]:
    """`build(layout, **build_arguments)`: the name of the image of that project, in which `files` are different."""

    def build(layout: str, files: Mapping[str, str] = MappingProxyType({}), **arguments: str) -> str:
        project = make_project(layout, tmp_path / layout)
        for name, text in files.items():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            (project / name).write_text(text)
        image = f"layout-{layout.replace('_', '-')}"
        options = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
        docker("build", "-t", image, *options, ".", cwd=project)
        return image

    return build
