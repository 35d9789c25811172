"""infra/deploy against moto: the part of both stacks that moto can make is made, in the order that works."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.cloudformation.models import CloudFormationBackend

from tests.infra.template import for_moto
from tests.pipeline.aws import Aws
from tests.running import ROOT

# what moto's CloudFormation makes; it passes over CodeBuild, CodePipeline, Cognito, scaling and alarms without a word
SUPPORTED = {
    "AWS::DynamoDB::Table",
    "AWS::EC2::InternetGateway",
    "AWS::EC2::Route",
    "AWS::EC2::RouteTable",
    "AWS::EC2::SecurityGroup",
    "AWS::EC2::Subnet",
    "AWS::EC2::SubnetRouteTableAssociation",
    "AWS::EC2::VPC",
    "AWS::EC2::VPCEndpoint",
    "AWS::EC2::VPCGatewayAttachment",
    "AWS::ECR::Repository",
    "AWS::ECS::Cluster",
    "AWS::ECS::Service",
    "AWS::ECS::TaskDefinition",
    "AWS::ElasticLoadBalancingV2::Listener",
    "AWS::ElasticLoadBalancingV2::LoadBalancer",
    "AWS::ElasticLoadBalancingV2::TargetGroup",
    "AWS::IAM::Role",
    "AWS::Logs::LogGroup",
    "AWS::S3::Bucket",
    "AWS::SNS::Topic",
}


def manifest(number: int) -> str:
    """Of an image that is another one for each number."""
    docker = "application/vnd.docker"
    blob = {"size": 1, "digest": f"sha256:{number:064}"}
    image = {
        "schemaVersion": 2,
        "mediaType": f"{docker}.distribution.manifest.v2+json",
        "config": {"mediaType": f"{docker}.container.image.v1+json"} | blob,
        "layers": [{"mediaType": f"{docker}.image.rootfs.diff.tar.gzip"} | blob],
    }
    return json.dumps(image, indent=3)


class Account:
    """An AWS account, and a checkout whose infra/deploy stands `name` up in it."""

    def __init__(self, directory: Path, server: Aws) -> None:
        self.name = f"app-{uuid.uuid4().hex[:8]}"
        self.server = server
        self.directory = directory
        self.built: list[dict[str, Any]] = []
        (directory / "infra").mkdir()
        shutil.copy(ROOT / "infra" / "deploy", directory / "infra")
        shutil.copy(ROOT / "build.yml", directory)
        parameters = {"pipeline": {"Repository": "owner/name"}, "service": {}}
        for template, given in parameters.items():
            text = json.dumps(for_moto(template, SUPPORTED, Name=self.name, **given))
            (directory / "infra" / f"{template}.yml").write_text(text)
        for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
            # whatever the user's own configuration asks for, such as signatures
            identity = {f"GIT_{who}_{what}": "t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
            variables = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull} | identity
            subprocess.run(["git", *command], cwd=directory, env=variables, check=True)
        # not committed, so not built
        (directory / "draft").write_text("draft")
        self._make_build_project()

    def _make_build_project(self) -> None:
        self.server.client("codebuild").create_project(
            name=f"{self.name}-build",
            source={"type": "S3", "location": "sources/first.zip"},
            artifacts={"type": "NO_ARTIFACTS"},
            environment={"type": "LINUX_CONTAINER", "image": "x", "computeType": "BUILD_GENERAL1_SMALL"},
            serviceRole="arn:aws:iam::123456789012:role/service-role/build",
        )

    def deploy(self, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        variables = {"PATH": path, "HOME": str(self.directory), "NAME": self.name, "REPOSITORY": "owner/name"}
        variables |= self.server.environment | environment
        return subprocess.run(
            [self.directory / "infra" / "deploy"],
            env={name: value for name, value in variables.items() if value},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def with_aws(self, script: str) -> dict[str, str]:
        """What deploy() has to be given so that `script` comes before the aws command."""
        tools = Path(sys.executable).parent
        program = self.directory / "aws"
        program.write_text(f'#!/bin/bash\n{script}\nexec {tools / "aws"} "$@"\n')
        program.chmod(0o755)
        return {"PATH": f"{self.directory}:{tools}:{os.environ['PATH']}"}

    def build_pushes(self) -> None:
        """As build.yml does when CodeBuild runs it."""
        self.built.append({"stacks": self.stacks(), "images": self.images()})
        ecr = self.server.client("ecr")
        ecr.put_image(repositoryName=self.name, imageManifest=manifest(len(self.built)), imageTag="latest")

    def stacks(self) -> set[str]:
        listed = self.server.client("cloudformation").list_stacks()["StackSummaries"]
        return {stack["StackName"] for stack in listed if stack["StackName"].startswith(self.name)}

    def images(self) -> dict[str, str]:
        """Tag: digest."""
        listed = self.server.client("ecr").list_images(repositoryName=self.name)["imageIds"]
        return {image["imageTag"]: image["imageDigest"] for image in listed}

    def output(self, stack: str, key: str) -> str:
        return {each["OutputKey"]: each["OutputValue"] for each in self._stack(stack)["Outputs"]}[key]

    def parameter(self, stack: str, key: str) -> str:
        return {each["ParameterKey"]: each["ParameterValue"] for each in self._stack(stack)["Parameters"]}[key]

    def _stack(self, stack: str) -> dict[str, Any]:
        cloudformation = self.server.client("cloudformation")
        (described,) = cloudformation.describe_stacks(StackName=f"{self.name}-{stack}")["Stacks"]
        return described


@pytest.fixture(scope="module")
def server() -> Iterator[Aws]:
    running = Aws()
    yield running
    running.stop()


@pytest.fixture
def account(tmp_path: Path, server: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    execute_change_set = CloudFormationBackend.execute_change_set

    def and_outputs(backend: CloudFormationBackend, *arguments: Any, **options: Any) -> None:
        """moto forgets the outputs of a stack that a change set creates."""
        execute_change_set(backend, *arguments, **options)
        for stack in backend.stacks.values():
            stack._parse_template()
            stack.output_map = stack._create_output_map()

    monkeypatch.setattr(CloudFormationBackend, "execute_change_set", and_outputs)
    made = Account(tmp_path, server)
    server.after["StartBuild"] = made.build_pushes
    yield made
    server.after.clear()


def test_first_deployment_with_an_empty_repository(account: Account) -> None:
    done = account.deploy()
    assert done.returncode == 0, done.stdout + done.stderr

    # the repository was there and empty, and nothing wanted to run an image yet
    assert account.built == [{"stacks": {f"{account.name}-pipeline"}, "images": {}}]
    assert account.stacks() == {f"{account.name}-pipeline", f"{account.name}-prod"}
    images = account.images()
    assert images.keys() == {"latest", "prod"}
    assert images["latest"] == images["prod"]

    # what was built is what was committed
    bucket = account.output("pipeline", "SourcesBucket")
    archive = account.server.client("s3").get_object(Bucket=bucket, Key="first.zip")["Body"].read()
    names = zipfile.ZipFile(io.BytesIO(archive)).namelist()
    assert "build.yml" in names
    assert "draft" not in names

    ecs = account.server.client("ecs")
    (service,) = ecs.describe_services(cluster=f"{account.name}-prod", services=[account.name])["services"]
    definition = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
    (container,) = definition["containerDefinitions"]
    assert container["image"].endswith(f"/{account.name}:prod")
    assert account.output("prod", "Url").startswith("http://")
    assert f"The service: {account.output('prod', 'Url')}" in done.stdout

    table = account.server.client("dynamodb").describe_table(TableName=account.output("prod", "TableName"))["Table"]
    assert table["DeletionProtectionEnabled"] is True
    assert {key["AttributeName"] for key in table["KeySchema"]} == {"userId", "itemId"}

    # again, with other parameters: nothing is built
    done = account.deploy(PIPELINE_PARAMETERS="Branch=next Provider=GitLab", SERVICE_PARAMETERS="MaxTasks=20")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(account.built) == 1
    assert account.parameter("pipeline", "Branch") == "next"
    assert account.parameter("pipeline", "Provider") == "GitLab"
    assert account.parameter("prod", "MaxTasks") == "20"

    # for another processor, as docs/deploy.md says: without the stage's tag the image is made anew
    account.server.client("ecr").batch_delete_image(repositoryName=account.name, imageIds=[{"imageTag": "prod"}])
    done = account.deploy(
        PIPELINE_PARAMETERS="Architecture=ARM64",
        SERVICE_PARAMETERS="Architecture=ARM64",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(account.built) == 2
    assert account.images()["prod"] == account.images()["latest"] != images["prod"]
    assert account.parameter("prod", "Architecture") == "ARM64"


def test_failed_first_build_makes_no_service(account: Account) -> None:
    done = account.deploy(**account.with_aws('[ "$2" = batch-get-builds ] && { echo FAILED; exit; }'))
    assert done.returncode == 1
    assert "the build ended as FAILED" in done.stderr
    assert account.stacks() == {f"{account.name}-pipeline"}
    assert "prod" not in account.images()


def test_what_moto_does_not_ask_for_is_said(account: Account) -> None:
    """CloudFormation makes roles for whoever knows of it, and CodeBuild builds from S3 what CodePipeline usually hands it."""
    calls, asked, sleep = (account.directory / name for name in ("calls", "asked", "sleep"))
    sleep.write_text("#!/bin/sh\n")
    sleep.chmod(0o755)
    answers = f"""
    echo "$@" >>{calls}
    case $2 in
      cp) cat >/dev/null ;;
      describe-stacks) [[ $* == *StageName* ]] && echo prod || echo bucket ;;
      batch-get-builds) [ -e {asked} ] && echo SUCCEEDED || echo IN_PROGRESS; touch {asked} ;;
    esac
    exit"""
    done = account.deploy(**account.with_aws(answers))
    assert done.returncode == 0, done.stderr
    said = calls.read_text().splitlines()
    deployed = [line for line in said if line.startswith("cloudformation deploy")]
    assert len(deployed) == 2
    for line in deployed:
        assert " --capabilities CAPABILITY_IAM " in line
        # "make deploy" again is no failure
        assert " --no-fail-on-empty-changeset " in line
        assert f" --parameter-overrides Name={account.name} StageName=prod" in line
    (build,) = [line for line in said if line.startswith("codebuild start-build")]
    assert f"--project-name {account.name}-build --source-type-override S3 --buildspec-override build.yml " in build
    assert "--source-location-override bucket/first.zip --artifacts-override type=NO_ARTIFACTS" in build
    assert sum(line.startswith("codebuild batch-get-builds") for line in said) == 2


def test_failure_to_ask_for_the_pipeline_is_not_taken_for_there_is_none(account: Account) -> None:
    says = "An error occurred (Throttling) when calling the DescribeStacks operation: Rate exceeded"
    done = account.deploy(**account.with_aws(f'[ "$2" = describe-stacks ] && {{ echo "{says}" >&2; exit 254; }}'))
    assert done.returncode == 1
    assert done.stderr.strip() == says
    assert account.stacks() == set()


@pytest.mark.parametrize(("present", "taken"), [("None", True), ("prod", True), ("prod2", False)])
def test_stack_that_was_only_planned_has_no_stage(account: Account, present: str, taken: bool) -> None:
    """A warning of the aws command's is no part of the answer."""
    done = account.deploy(
        **account.with_aws(
            f'[ "$2" = describe-stacks ] && {{ echo warning >&2; echo {present}; exit; }}; [ "$2" = deploy ] && exit 7'
        )
    )
    assert done.returncode == (7 if taken else 1), done.stderr


def test_pipeline_of_one_stage_is_not_taken_for_another(account: Account) -> None:
    """ECR would no longer keep the image that runs in the one before, and commits would no longer get there."""
    given = {"Name": account.name, "StageName": "prod", "Repository": "owner/name"}
    account.server.client("cloudformation").create_stack(
        StackName=f"{account.name}-pipeline",
        TemplateBody=(account.directory / "infra" / "pipeline.yml").read_text(),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
    )
    done = account.deploy(STAGE_NAME="staging")
    assert account.parameter("pipeline", "StageName") == "prod"
    assert done.returncode == 1
    assert f"{account.name}-pipeline is for prod" in done.stderr
    assert account.stacks() == {f"{account.name}-pipeline"}
    assert account.built == []


def test_missing_git_repository_is_named(account: Account) -> None:
    done = account.deploy(REPOSITORY="")
    assert done.returncode != 0
    assert "REPOSITORY=owner/name" in done.stderr
    assert account.stacks() == set()


def test_make_deploy_runs_the_user_s_own_aws_command(tmp_path: Path) -> None:
    """It may know ways to sign in that the one among the development tools does not."""
    for owner in ("user", "tools"):
        program = tmp_path / owner / "aws"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho {owner}\nexit 1\n")
        program.chmod(0o755)
    done = subprocess.run(
        ["make", "--assume-old=.venv/installed", f"BIN={os.path.relpath(tmp_path / 'tools', ROOT)}", "deploy"],
        cwd=ROOT,
        env={"PATH": f"{tmp_path / 'user'}:/usr/bin:/bin", "REPOSITORY": "owner/name"},
        capture_output=True,
        text=True,
    )
    assert done.stderr.startswith("user\n"), done.stderr


def test_script_is_short_and_sound() -> None:
    script = ROOT / "infra" / "deploy"
    assert len(script.read_text().splitlines()) <= 45
    done = subprocess.run([Path(sys.executable).parent / "shellcheck", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
