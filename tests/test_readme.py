"""The README's commands, taken from it and run as they stand."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import Settings
from entrypoint.limits import MIB, Limits
from entrypoint.settings import Settings as ContainerSettings
from tests.api import http_api
from tests.running import ROOT, docker, wait_for

README = (ROOT / "README.md").read_text()


def blocks(heading: str, language: str = "sh") -> list[str]:
    """The code blocks in a section of the README."""
    section = re.split(r"^## ", README.split(f"## {heading}\n", 1)[1], maxsplit=1, flags=re.M)[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.S)


def answers(port: int):
    def ping():
        try:
            return http_api(f"http://127.0.0.1:{port}")("GET", "/ping").status == 200
        except OSError:
            return False

    return ping


@pytest.mark.docker
def test_run_it_and_add_an_item():
    commands = blocks("Run it")[0]
    put = next(block for block in blocks("Call it") if "/item" in block and "TOKEN" not in block)
    # pasted: none waits for what the one before has begun
    done = subprocess.run(commands, shell=True, cwd=ROOT, capture_output=True, text=True)
    container, *answer = done.stdout.split()
    try:
        assert (done.returncode, answer) == (0, ["pong"]), done.stderr
        created = subprocess.run(put, shell=True, capture_output=True, text=True, check=True).stdout
        assert '"title": "my title", "content": "my content"' in created
    finally:
        docker("rm", "-f", container)


def test_without_docker_flask_runs_the_application():
    """The same `flask run`, in an environment that has the requirements installed."""
    command = blocks("Without Docker")[0].strip().splitlines()[-1]
    assert command.startswith("flask run -p 8000")
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    running = subprocess.Popen(
        command, shell=True, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_for(answers(8000), 20)
        api = http_api("http://127.0.0.1:8000")
        created = api("PUT", "/item", {"title": "a", "content": "b"})
        assert created.status == 201
        assert api("GET", created.headers["Location"]).json == created.json
        missing = api("GET", "/db-item")
        assert missing.status == 503
        assert "TABLE_NAME" in missing.json["detail"]
    finally:
        os.killpg(running.pid, signal.SIGTERM)
        running.wait()


def test_another_port_is_none_that_make_run_needs():
    needed = set(re.findall(r"\$\{\w+:-(\d+)\}", (ROOT / "compose.yaml").read_text()))
    named = re.findall(r"(?:PORT=|-p )(\d+)", next(line for line in README.splitlines() if "already allocated" in line))
    assert len(needed) == 2
    assert set(named) - needed == set(named)


def rows() -> set[str]:
    """The variables that the tables of the settings name."""
    section = README.split("## Settings\n", 1)[1].split("\n## ", 1)[0]
    return {name for row in re.findall(r"^\| (`.*?) \|", section, re.M) for name in re.findall(r"`([A-Z_]+)`", row)}


def test_every_setting_has_a_row():
    """The variables that the code reads are those that the README names."""
    sources = [*(ROOT / "app").rglob("*.py"), *(ROOT / "entrypoint").glob("*.py"), ROOT / "gunicorn.conf.py"]
    read = set()
    for source in sources:
        text = source.read_text()
        read |= set(
            re.findall(r"(?:os\.environ(?:\.get)?[\[(]|environment\.\w+\(\s*|variables\.get\()\"([A-Z_]+)\"", text)
        )
    internal = {"PATH", "PRESTART_DONE"}
    also = {"LISTEN_PORT", "NGINX_MAX_UPLOAD"}
    assert read - internal - rows() - also == set()


def settings(**variables: str) -> tuple[ContainerSettings, Settings]:
    directory = {"RUN_DIR": "/dev/shm/app"}
    return (
        ContainerSettings.from_environment(variables, Limits(2, 512 * MIB)),
        Settings.from_environment(directory | variables),
    )


def test_the_defaults_are_those_of_the_code():
    section = README.split("## Settings\n", 1)[1].split("\n## ", 1)[0]
    for names, defaults in re.findall(r"^\| (`[A-Z].*?) \| (\S.*?) \|", section, re.M):
        for name, default in zip(names.split(", "), defaults.split(", "), strict=False):
            value = re.fullmatch(r"`?([^\s`]+)`?(?: \(off\))?", default)
            if value and value[1] != "none":
                same = {name.strip("`"): value[1]}
                assert settings(**same) == settings(), same


def test_nothing_but_the_documented_files_is_at_the_root():
    named = set(re.findall(r"`([\w./-]+?)/?`", README.split("## Files\n", 1)[1].split("\n## ", 1)[0]))
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    root = {path.split("/")[0] for path in tracked.splitlines()}
    tools = {"README.md", "LICENSE", "Makefile", "pyproject.toml", "requirements-dev.txt"}
    assert {name for name in root if not name.startswith(".")} - tools <= named


def test_its_figures_are_those_of_their_pages():
    attacks, figures = ((ROOT / "docs" / name).read_text() for name in ("attacks.md", "figures.md"))
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in attacks.splitlines() if line.startswith("| ")]

    def good(target):
        """How many good requests there were, how many failed, and how many times as long as before the p99 was."""
        rows = [row for row in table if row[0] == target]
        requests, failed = (sum(int(row[column].replace(",", "")) for row in rows) for column in (3, 4))
        return requests, failed, [float(times) for row in rows for times in re.findall(r"\(([\d.]+)×\)", row[6])]

    requests, failed, times = good("this image")
    bare_requests, bare_failed, _ = good("bare Gunicorn")
    assert (failed, bare_failed) == (0, bare_requests)
    assert f"all {requests:,} other requests answered in six attacks" in README
    assert f"p99 {min(times):.1f} to {max(times):.1f} times" in README
    assert f"none of {bare_requests:,} |" in README
    served = re.findall(r"^\| served at twice the capacity, `GET (/[a-z-]+)/.*?\| ([\d.]+)×", figures, re.M)
    assert "{1} (`{0}`) and {3} (`{2}`)".format(*served[0], *served[1]) in README
    (replacements,) = re.findall(r"^\| replacements \| (\d+) \|\n\| requests \| ([\d,]+) \|", figures, re.M)
    assert "{} deployments under load, behind a balancer | {} requests, none failed".format(*replacements) in README
