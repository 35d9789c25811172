"""What both templates have to be: valid, and stingy with permissions."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cfnlint.helpers import REGIONS
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from tests.infra.template import REGION, Stack, load
from tests.running import ROOT

# has no resource that could be named
WITHOUT_RESOURCE = {"ecr:GetAuthorizationToken"}


def statements(stack: Stack) -> Iterator[dict[str, Any]]:
    """Every statement of every role's own policies."""
    for role in stack.of_type("AWS::IAM::Role").values():
        for policy in role["Policies"]:
            yield from policy["PolicyDocument"]["Statement"]


def words(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.fixture(params=["service", "https_service", "pipeline"])
def stack(request: pytest.FixtureRequest) -> Stack:
    return request.getfixturevalue(request.param)


def test_cfn_lint_finds_nothing_also_in_its_strict_rules() -> None:
    cfn_lint = Path(sys.executable).parent / "cfn-lint"
    # all informational and experimental rules, but the one that wants prose about every resource in its metadata
    options = ["--include-experimental", "--include-checks", "I", "--ignore-checks", "I4010"]
    templates = sorted(str(path) for path in (ROOT / "infra").glob("*.yml"))
    command = [cfn_lint, *options, "--configure-rule", "E3012:strict=true", "--", *templates]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_small_enough_to_be_deployed_without_a_bucket() -> None:
    for template in (ROOT / "infra").glob("*.yml"):
        assert template.stat().st_size < 51_200


def test_regions_that_lack_something_are_named() -> None:
    """A type that a Region does not know makes CloudFormation refuse the whole template."""
    text = (ROOT / "docs" / "deploy.md").read_text()
    types = {each["Type"] for name in ("pipeline", "service") for each in load(name)["Resources"].values()}
    # those of the secret clouds are for people who know them
    regions = [region for region in REGIONS if "-iso" not in region]
    lacking = {region for region in regions if types - set(PROVIDER_SCHEMA_MANAGER.get_resource_types(region))}
    assert {"ap-east-1", "cn-north-1"} <= lacking
    assert [region for region in lacking if f"`{region}`" not in text] == []


@pytest.mark.parametrize("template", ["pipeline", "service"])
@pytest.mark.parametrize(
    ("name", "allowed"), [("my-app-1", True), ("a" * 31, True), ("a" * 32, False), ("my-app-", False)]
)
def test_name_is_one_that_a_repository_may_have(template: str, name: str, allowed: bool) -> None:
    """And the connection to the Git provider, with its 32 characters."""
    assert bool(re.fullmatch(load(template)["Parameters"]["Name"]["AllowedPattern"], name)) == allowed
    repository = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, "AWS::ECR::Repository").schema
    assert allowed <= bool(re.search(repository["properties"]["RepositoryName"]["pattern"], name))


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("prod", True),
        ("latest-2", True),
        ("pipeline-2", True),
        ("s" * 31, True),
        ("s" * 32, False),
        ("Prod", False),
        ("*", False),
        # a rollback would find the image that failed, since build.yml has moved the tag before
        ("latest", False),
        # infra/deploy would give both stacks one name
        ("pipeline", False),
    ],
)
def test_stage_has_a_name_of_its_own(name: str, allowed: bool) -> None:
    for template in ("pipeline", "service"):
        assert bool(re.fullmatch(load(template)["Parameters"]["StageName"]["AllowedPattern"], name)) == allowed


def test_permissions_name_actions_and_resources(stack: Stack) -> None:
    for statement in statements(stack):
        assert statement["Effect"] == "Allow"
        actions = words(statement["Action"])
        assert not any("*" in action for action in actions), actions
        if "*" in words(statement["Resource"]):
            assert set(actions) <= WITHOUT_RESOURCE
        for resource in words(statement["Resource"]):
            # the objects of a bucket cannot be named beforehand; everything else is
            assert "*" not in resource or resource == "*" or resource == "<Sources.Arn>/*", resource


def test_no_role_may_pass_another(stack: Stack) -> None:
    assert not any("iam:PassRole" in words(statement["Action"]) for statement in statements(stack))


ASSUMED_BY = {
    "BuildRole": "codebuild", "ReleaseRole": "codebuild", "PipelineRole": "codepipeline",
    "ExecutionRole": "ecs-tasks", "TaskRole": "ecs-tasks",
}  # fmt: skip


def test_roles_are_assumed_by_their_service_for_this_account_only(stack: Stack) -> None:
    for name, role in stack.of_type("AWS::IAM::Role").items():
        condition = {"StringEquals": {"aws:SourceAccount": "123456789012"}}
        if ASSUMED_BY[name] == "ecs-tasks":
            condition["ArnLike"] = {"aws:SourceArn": "arn:aws:ecs:eu-west-1:123456789012:*"}
        (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert statement == {
            "Effect": "Allow",
            "Principal": {"Service": f"{ASSUMED_BY[name]}.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": condition,
        }


def references(node: Any) -> Iterator[str]:
    """The names of all parameters and resources in a part of a template."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "Ref":
                yield value
            elif key == "Fn::Sub":
                yield from re.findall(r"\$\{([\w:]+)\}", value)
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


@pytest.mark.parametrize(
    ("later", "earlier"),
    [
        # tasks can be reached, and reach ECR, when the first of them starts
        ("LoadBalancer", "LoadBalancerToTasks"),
        ("LoadBalancer", "SubnetARoutes"),
        ("LoadBalancer", "SubnetBRoutes"),
        ("SubnetARoutes", "DefaultRoute"),
        ("SubnetBRoutes", "DefaultRoute"),
        ("DefaultRoute", "InternetGatewayAttachment"),
        ("OutageAlarm", "Service"),
    ],
)
def test_what_needs_another_waits_for_it(later: str, earlier: str) -> None:
    resource = load("service")["Resources"][later]
    assert earlier in {resource.get("DependsOn"), *references(resource)}


def test_both_templates_take_the_same_for_what_they_share() -> None:
    pipeline, service = (load(name)["Parameters"] for name in ("pipeline", "service"))
    shared = pipeline.keys() & service.keys()
    assert shared == {"Name", "StageName", "Architecture", "LogRetentionDays"}
    for name in shared:
        assert pipeline[name] | {"Description": ""} == service[name] | {"Description": ""}


def test_http_becomes_a_redirect_once_https_answers() -> None:
    """With a certificate that comes later, the tasks would be behind no listener in between."""
    assert "HttpsListener" in references(load("service")["Resources"]["HttpListener"])


@pytest.mark.parametrize("name", ["service", "pipeline"])
def test_tags_hold_no_id_that_a_tag_may_not_hold(name: str) -> None:
    """The id of a resource that several properties identify has them with a bar between, which no tag takes."""
    resources = load(name)["Resources"]
    tagged = [each["Properties"]["Tags"] for each in resources.values() if "Tags" in each.get("Properties", {})]
    named = set(references(tagged)) & resources.keys()
    assert named or name == "pipeline"
    for resource in named:
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, resources[resource]["Type"]).schema
        assert len(schema["primaryIdentifier"]) == 1, resource


def test_log_groups_expire(stack: Stack) -> None:
    groups = stack.of_type("AWS::Logs::LogGroup")
    assert groups
    assert all(group["RetentionInDays"] == "30" for group in groups.values())
