"""The documents and the files for tools: what they name is there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.running import ROOT

DOCUMENTS = [*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")]


def anchors(path: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.S), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text()):
        file, _, heading = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        assert not heading or heading in anchors(target), link


def test_the_workflow_runs_what_contributors_run():
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    commands = [step.get("run", "") for step in workflow["jobs"]["test"]["steps"]]
    assert "make lint test" in commands
    assert workflow["permissions"] == {"contents": "read"}


def test_the_workflow_installs_what_ci_does():
    """But for the browser, which GitHub's machines have."""

    def packages(path):
        text = (ROOT / path).read_text()
        return set(re.search(r"install -y --no-install-recommends[ \\\n]+([a-z0-9 -]+)", text)[1].split())

    assert packages(".github/workflows/test.yml") == packages(".ci/run") - {"chromium", "chromium-driver"}


def test_what_compose_publishes_is_for_this_machine_only():
    """Everybody knows the password of the local AWS."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert services.keys() == {"app", "aws"}
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service["ports"])


def test_pre_commit_fetches_nothing():
    configuration = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repository["repo"] for repository in configuration["repos"]] == ["local"]
    hooks = [hook for repository in configuration["repos"] for hook in repository["hooks"]]
    assert {hook["language"] for hook in hooks} == {"system"}
    for hook in hooks:
        subprocess.run([*hook["entry"].split(), "--dry-run"], cwd=ROOT, check=True, capture_output=True)


def test_every_file_has_a_row():
    text = (ROOT / "docs/files.md").read_text()
    rows = {name for row in re.findall(r"^\| (`.*?) \|", text, re.M) for name in re.findall(r"`(.+?)`", row)}
    folders = tuple(name for name in rows if name.endswith("/"))
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert {path for path in tracked if not path.startswith(folders)} - rows == set()
    assert [name for name in rows if not (ROOT / name).exists()] == []
