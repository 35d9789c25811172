"""What stands in build.yml and release.yml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.running import ROOT

FILES = ("build.yml", "release.yml")
# people know these, and have pipelines that rely on their variables
COMMANDS = {
    "build.yml": [
        "aws ecr get-login-password --region $AWS_REGION | docker login --username AWS --password-stdin $ECR_ENDPOINT",
        "docker build -t builtimage .",
        "docker tag builtimage:latest $ECR_IMAGE_URL:latest",
        "docker push $ECR_IMAGE_URL:latest",
    ],
    "release.yml": [
        "aws ecr get-login-password | docker login --username AWS --password-stdin $ECR_ENDPOINT",
        "docker pull $ECR_IMAGE_URL:$PREVIOUS_STAGE_NAME",
        "docker tag $ECR_IMAGE_URL:$PREVIOUS_STAGE_NAME $ECR_IMAGE_URL:$STAGE_NAME",
        "docker push $ECR_IMAGE_URL:$STAGE_NAME",
        "aws ecs update-service --service $SERVICE_NAME --cluster $CLUSTER_ARN --force-new-deployment",
    ],
}


def spec(file: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / file).read_text())


@pytest.mark.parametrize("file", FILES)
def test_build_phase_is_exactly_the_known_commands(file: str) -> None:
    assert spec(file)["phases"]["build"] == {"commands": COMMANDS[file]}


@pytest.mark.parametrize("file", FILES)
def test_other_commands_are_sound_bash_that_ends_on_failure(file: str) -> None:
    described = spec(file)
    assert described["version"] == 0.2
    assert described["env"]["shell"] == "bash"
    shellcheck = Path(sys.executable).parent / "shellcheck"
    for phase in ("pre_build", "post_build"):
        for command in described["phases"][phase]["commands"]:
            assert command.startswith("set -euo pipefail")
            done = subprocess.run([shellcheck, "-s", "bash", "-"], input=command, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout
