"""docs/existing-project.md, with its commands as they stand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.layouts.project import CONTAINER_FILES, PROJECTS
from tests.running import ROOT, docker, wait_for

DOCUMENT = (ROOT / "docs/existing-project.md").read_text()
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The blocks of the steps, without their indentation."""
    steps = DOCUMENT.split("\n## ", 1)[0]
    return [re.sub(r"^   ", "", block, flags=re.M) for block in re.findall(rf"```{language}\n(.*?)```", steps, re.S)]


@pytest.mark.docker
def test_the_steps_bring_a_project_into_the_container(tmp_path: Path) -> None:
    """A project with what checkouts have beside the application; nothing of that is in the image."""
    project = tmp_path / "shop"
    shutil.copytree(PROJECTS / "wsgi_py", project)
    for name in (".git/config", ".env", "venv/bin/python", "tests/test_shop.py"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("")
    copy, commands = blocks("sh")
    (project / ".dockerignore").write_text(blocks("text")[0])
    build, run, curl = commands.strip().splitlines()

    def sh(command: str, check: bool = True) -> str:
        environment = os.environ | {"TEMPLATE": str(ROOT)}
        done = subprocess.run(
            command, shell=True, cwd=project, env=environment, capture_output=True, text=True, timeout=300
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    sh(copy)
    sh(build)
    container = sh(run).strip()
    try:
        wait_for(lambda: "wsgi.py to" in sh(curl, check=False), 20)
        assert set(docker("exec", container, "ls", "-A", "/app").split()) - {"__pycache__"} == {
            "shop.py", "wsgi.py", "requirements.txt", *CONTAINER_FILES
        } - {"Dockerfile"}  # fmt: skip
    finally:
        docker("rm", "-f", container)
        docker("rmi", "my-app")


def test_the_readme_copies_the_same_files() -> None:
    sentence = re.search(r"^Copy (.*?)into the root", README, re.M | re.S)
    assert sentence
    assert set(re.findall(r"`([\w.]+)/?`", sentence[1])) == {*CONTAINER_FILES, "build.yml", "release.yml"}
    assert set(re.findall(r'"\$TEMPLATE"/([\w.]+)', blocks("sh")[0])) == set(CONTAINER_FILES)


def test_it_names_all_that_a_longer_answer_needs() -> None:
    """A watch that is more impatient than Nginx takes one that waits for the application for one that hangs."""
    named = re.findall(r"`(\w+)`\s+in\s+`([\w./]+)`", DOCUMENT)
    assert [name for name, _ in named] == ["proxy_read_timeout", "timeout", "ANSWER_SECONDS"]
    for name, path in named:
        assert re.search(rf"^{name}\b", (ROOT / path).read_text(), re.M), path


def test_it_takes_three_minutes_to_read() -> None:
    """The steps: 200 words a minute."""
    assert len(DOCUMENT.split("\n## ", 1)[0].split()) < 600


@pytest.mark.parametrize("document", ["existing-project.md", "from-uwsgi-nginx-flask.md", "from-gunicorn.md"])
def test_every_setting_that_it_names_is_there(document: str) -> None:
    """A variable or build argument of ours that a document tells people to set is one that something reads."""
    sources = [ROOT / "Dockerfile", ROOT / "gunicorn.conf.py", *(ROOT / "entrypoint").glob("*.py")]
    read = {name for path in sources for name in re.findall(r"\b[A-Z][A-Z_]+\b", path.read_text())}
    told = re.findall(r"`(?:--build-arg )?\"?([A-Z][A-Z_]+)=", (ROOT / "docs" / document).read_text())
    theirs = {"PYTHONPATH"}
    assert set(told) - theirs <= read
