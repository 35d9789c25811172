"""infra/pipeline.yml, property by property."""

from __future__ import annotations

import fnmatch
import json
import re
from datetime import timedelta

import pytest

from tests.infra.template import LOG, PULL, PUSH, Stack, allowed
from tests.pipeline.test_files import spec
from tests.running import ROOT


def project(stack: Stack, name: str) -> dict:
    return stack.properties(name)


def variables(stack: Stack, name: str) -> dict[str, str]:
    return {each["Name"]: each["Value"] for each in project(stack, name)["Environment"]["EnvironmentVariables"]}


def action(stack: Stack, stage: str) -> dict:
    stages = {each["Name"]: each["Actions"] for each in stack.properties("Pipeline")["Stages"]}
    (found,) = stages[stage]
    return found


def expired(policy: str, images: dict[str, tuple[set[str], timedelta]]) -> set[str]:
    """Which images (digest: tags, age) ECR would delete.

    All rules look at all images. One that a rule selects by its tags is out of reach of the rules after it.
    """
    gone, protected = set(), set()
    for rule in sorted(json.loads(policy)["rules"], key=lambda rule: rule["rulePriority"]):
        selection = rule["selection"]
        if selection["tagStatus"] == "untagged":
            selected = {digest for digest, (tags, _) in images.items() if not tags}
        else:
            selected = {
                digest
                for digest, (tags, _) in images.items()
                if all(fnmatch.filter(tags, pattern) for pattern in selection["tagPatternList"])
            }
        by_age = sorted(selected, key=lambda digest: images[digest][1])
        if selection["countType"] == "imageCountMoreThan":
            marked = set(by_age[selection["countNumber"] :])
        else:
            marked = {digest for digest in selected if images[digest][1] > timedelta(days=selection["countNumber"])}
        gone |= marked - protected
        protected |= selected
    return gone


@pytest.fixture
def lifecycle(pipeline: Stack) -> str:
    return pipeline.properties("Images")["LifecyclePolicy"]["LifecyclePolicyText"]


@pytest.mark.parametrize("stage", ["prod", "latest"])
def test_lifecycle_never_deletes_what_runs_or_was_built_last(lifecycle: str, stage: str) -> None:
    images = {f"sha256:{age}": ({f"commit-{age}"}, timedelta(hours=age)) for age in range(500)}
    images["sha256:runs"] = ({"commit-runs", stage}, timedelta(days=3000))
    assert "sha256:runs" not in expired(lifecycle, images)
    # nor when nothing but the stage names it: the first image
    images["sha256:runs"] = ({stage}, timedelta(days=3000))
    assert "sha256:runs" not in expired(lifecycle, images)


def test_lifecycle_deletes_old_commits_and_what_nothing_names(lifecycle: str) -> None:
    images = {f"sha256:{age}": ({f"commit-{age}"}, timedelta(hours=age)) for age in range(500)}
    images |= {"sha256:new": (set(), timedelta(days=29)), "sha256:old": (set(), timedelta(days=31))}
    gone = expired(lifecycle, images)
    assert gone == {f"sha256:{age}" for age in range(100, 500)} | {"sha256:old"}


def test_commit_tags_are_immutable_and_stage_tags_move(pipeline: Stack) -> None:
    images = pipeline.properties("Images")
    assert images["ImageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
    assert images["ImageTagMutabilityExclusionFilters"] == [
        {"ImageTagMutabilityExclusionFilterType": "WILDCARD", "ImageTagMutabilityExclusionFilterValue": tag}
        for tag in ("latest", "prod")
    ]


def test_images_are_scanned(pipeline: Stack) -> None:
    assert pipeline.properties("Images")["ImageScanningConfiguration"] == {"ScanOnPush": True}


@pytest.mark.parametrize("name", ["Images", "Sources"])
def test_images_and_sources_are_kept(pipeline: Stack, name: str) -> None:
    """But those of a creation that failed, which would be in the way of the next."""
    assert pipeline.resources[name]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert pipeline.resources[name]["UpdateReplacePolicy"] == "Retain"


@pytest.mark.parametrize(("name", "file"), [("Build", "build.yml"), ("Release", "release.yml")])
def test_project_runs_the_file_with_what_it_needs(pipeline: Stack, name: str, file: str) -> None:
    # as infra/deploy calls it
    assert project(pipeline, name)["Name"] == f"flask-crud-app-{name.lower()}"
    assert project(pipeline, name)["Source"] == {"Type": "CODEPIPELINE", "BuildSpec": file}
    assert project(pipeline, name)["Environment"]["PrivilegedMode"] is True
    given = variables(pipeline, name)
    configuration = action(pipeline, name)["Configuration"]
    given |= {each["name"]: each["value"] for each in json.loads(configuration.get("EnvironmentVariables", "[]"))}
    # CodeBuild itself sets the Region
    given["AWS_REGION"] = "eu-west-1"
    check = next(command for command in spec(file)["phases"]["pre_build"]["commands"] if "missing" in command)
    needed = check.partition("for name in ")[2].partition(";")[0].split()
    assert needed
    assert not set(needed) - given.keys()


def test_no_layer_of_an_earlier_build_stands_for_todays_security_updates(pipeline: Stack) -> None:
    """SECURITY.md: they come with every build. Docker takes the layer that has them from a cache for as long as one is kept."""
    assert "Cache" not in project(pipeline, "Build")
    assert re.search(r"apt-get update\b[^#]* apt-get upgrade -y", (ROOT / "Dockerfile").read_text())


def test_release_takes_what_the_same_execution_built(pipeline: Stack) -> None:
    build = action(pipeline, "Build")
    exported = spec("build.yml")["env"]["exported-variables"]
    configured = json.loads(action(pipeline, "Release")["Configuration"]["EnvironmentVariables"])
    assert configured == [{"name": "PREVIOUS_STAGE_NAME", "value": f"#{{{build['Namespace']}.{exported[0]}}}"}]


def test_release_goes_to_the_service_of_the_other_stack(pipeline: Stack, service: Stack) -> None:
    given = variables(pipeline, "Release")
    assert variables(pipeline, "Build").items() <= given.items()
    assert given["SERVICE_NAME"] == service.properties("Service")["ServiceName"]
    assert given["CLUSTER_ARN"].endswith(f":cluster/{service.properties('Cluster')['ClusterName']}")
    image = service.properties("TaskDefinition")["ContainerDefinitions"][0]["Image"]
    assert image == f"{given['ECR_ENDPOINT']}/{pipeline.properties('Images')['RepositoryName']}:{given['STAGE_NAME']}"
    (policy,) = pipeline.properties("ReleaseRole")["Policies"]
    (ecs,) = [each for each in policy["PolicyDocument"]["Statement"] if "ecs:UpdateService" in each["Action"]]
    cluster = given["CLUSTER_ARN"].rpartition("/")[2]
    assert ecs["Resource"] == f"arn:aws:ecs:eu-west-1:123456789012:service/{cluster}/{given['SERVICE_NAME']}"


def test_build_may_not_touch_the_service_and_the_pipeline_not_the_images(pipeline: Stack) -> None:
    for role, forbidden in (("BuildRole", "ecs:"), ("PipelineRole", "ecr:"), ("PipelineRole", "ecs:")):
        (policy,) = pipeline.properties(role)["Policies"]
        assert forbidden not in str(policy)


def test_pipeline_may_put_sources_into_its_bucket_as_the_source_action_does(pipeline: Stack) -> None:
    """What CodePipeline's documentation calls the least that its role needs; the upload has an ACL."""
    assert pipeline.properties("Pipeline")["RoleArn"] == "<PipelineRole.Arn>"
    assert pipeline.properties("Pipeline")["ArtifactStore"] == {"Type": "S3", "Location": "<Sources>"}
    actions = allowed(pipeline, "PipelineRole")
    assert actions["<Sources.Arn>"] == {"s3:GetBucketAcl", "s3:GetBucketLocation", "s3:GetBucketVersioning"}
    objects = {"s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:PutObjectAcl"}
    assert actions["<Sources.Arn>/*"] == objects


def test_pipeline_may_start_what_its_stages_name(pipeline: Stack) -> None:
    actions = allowed(pipeline, "PipelineRole")
    assert actions["<Connection>"] == {"codeconnections:UseConnection", "codestar-connections:UseConnection"}
    for name in ("Build", "Release"):
        assert action(pipeline, name)["Configuration"]["ProjectName"] == f"<{name}>"
        assert actions[f"<{name}.Arn>"] == {"codebuild:StartBuild", "codebuild:BatchGetBuilds"}
    assert actions.keys() == {"<Sources.Arn>", "<Sources.Arn>/*", "<Connection>", "<Build.Arn>", "<Release.Arn>"}


SERVICE = "arn:aws:ecs:eu-west-1:123456789012:service/flask-crud-app-prod/flask-crud-app"


@pytest.mark.parametrize(
    ("name", "may"),
    [
        # the first image is built from the bucket itself
        ("Build", {"<Images.Arn>": PUSH, "<Sources.Arn>": {"s3:GetBucketAcl", "s3:GetBucketLocation"}}),
        ("Release", {"<Images.Arn>": PULL | PUSH, SERVICE: {"ecs:DescribeServices", "ecs:UpdateService"}}),
    ],
)
def test_project_may_do_what_its_file_does(pipeline: Stack, name: str, may: dict[str, set[str]]) -> None:
    """Read the sources, write its log, log in, push or pull, and deploy; nothing else."""
    assert project(pipeline, name)["ServiceRole"] == f"<{name}Role.Arn>"
    assert project(pipeline, name)["LogsConfig"]["CloudWatchLogs"]["GroupName"] == f"<{name}Logs>"
    assert allowed(pipeline, f"{name}Role") == may | {
        f"<{name}Logs.Arn>": LOG,
        "<Sources.Arn>/*": {"s3:GetObject", "s3:GetObjectVersion"},
        "*": {"ecr:GetAuthorizationToken"},
    }


@pytest.mark.parametrize(
    ("repository", "allowed"),
    [
        ("owner/name", True),
        ("Some-owner/some.name_1", True),
        # GitLab's groups have groups
        ("group/subgroup/another/name", True),
        ("name", False),
        ("owner/", False),
        ("/name", False),
        ("owner//name", False),
        ("https://github.com/owner/name", False),
        ("owner/a name", False),
    ],
)
def test_repository_has_an_owner_or_groups(pipeline: Stack, repository: str, allowed: bool) -> None:
    pattern = pipeline.template["Parameters"]["Repository"]["AllowedPattern"]
    assert bool(re.fullmatch(pattern, repository)) == allowed


def test_pipeline_is_of_the_second_kind(pipeline: Stack) -> None:
    properties = pipeline.properties("Pipeline")
    assert properties["PipelineType"] == "V2"
    assert [stage["Name"] for stage in properties["Stages"]] == ["Source", "Build", "Release"]
    # two releases at a time would each take the other's image for the one before
    assert properties["ExecutionMode"] == "SUPERSEDED"


def test_pipeline_follows_the_branch(pipeline: Stack) -> None:
    configuration = action(pipeline, "Source")["Configuration"]
    assert (configuration["FullRepositoryId"], configuration["BranchName"]) == ("owner/name", "main")


def test_given_connection_is_used_and_none_is_made(pipeline: Stack) -> None:
    assert action(pipeline, "Source")["Configuration"]["ConnectionArn"] == "<Connection>"
    given = Stack("pipeline", Repository="owner/name", ConnectionArn="arn:aws:codeconnections:eu-west-1:1:connection/1")
    assert "Connection" not in given.resources
    assert action(given, "Source")["Configuration"]["ConnectionArn"] == given.parameters["ConnectionArn"]


@pytest.mark.parametrize(("architecture", "machine"), [("X86_64", "LINUX_CONTAINER"), ("ARM64", "ARM_CONTAINER")])
def test_image_is_built_on_the_processor_that_runs_it(architecture: str, machine: str) -> None:
    for name in ("Build", "Release"):
        built = project(Stack("pipeline", Repository="owner/name", Architecture=architecture), name)["Environment"]
        assert built["Type"] == machine
        assert ("aarch64" in built["Image"], "x86_64" in built["Image"]) == (machine[0] == "A", machine[0] == "L")
    runs = Stack("service", Architecture=architecture).properties("TaskDefinition")
    assert runs["RuntimePlatform"]["CpuArchitecture"] == architecture


def test_sources_are_private_and_travel_encrypted(pipeline: Stack) -> None:
    block = pipeline.properties("Sources")["PublicAccessBlockConfiguration"]
    assert block.keys() == {"BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"}
    assert set(block.values()) == {True}
    (statement,) = pipeline.properties("SourcesPolicy")["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    assert (statement["Principal"], statement["Action"]) == ("*", "s3:*")
    assert statement["Resource"] == ["<Sources.Arn>", "<Sources.Arn>/*"]


def test_sources_go_after_a_month(pipeline: Stack) -> None:
    (rule,) = pipeline.properties("Sources")["LifecycleConfiguration"]["Rules"]
    assert (rule["Status"], rule["ExpirationInDays"]) == ("Enabled", 30)
    # what has expired is an earlier version of nothing for a day, and then gone
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}
