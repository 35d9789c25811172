"""build.yml, run as CodeBuild runs it: real docker, a real registry, the real aws command."""

from __future__ import annotations

import pytest

from tests.pipeline.conftest import BUILD_ID, COMMIT, CodeBuild, in_both_ways
from tests.pipeline.registry import Registry
from tests.running import docker

pytestmark = pytest.mark.docker


@in_both_ways
def test_pushes_latest_and_commit(codebuild: CodeBuild) -> None:
    build = codebuild.build()
    assert build.succeeded, build.output
    assert codebuild.digest("latest") == codebuild.digest(COMMIT) is not None
    assert build.exported == {"IMAGE_TAG": COMMIT}


@pytest.mark.parametrize(
    ("version", "tag"),
    [
        # of an S3 source with versioning, without it, of a tag, of somebody who means no good
        (".hLz_3x/L4kqt+JlcpXroDTDmJ rmSpXd3", "_hLz_3x-L4kqt-JlcpXroDTDmJ-rmSpXd3"),
        ("", BUILD_ID.replace(":", "-")),
        ("refs/tags/" + "v" * 200, ("refs-tags-" + "v" * 200)[:100]),
        ("ü\n$(id)", "-----id-".replace("-", "_", 1)),
    ],
)
def test_source_version_becomes_a_tag(codebuild: CodeBuild, version: str, tag: str) -> None:
    build = codebuild.build(CODEBUILD_RESOLVED_SOURCE_VERSION=version)
    assert build.succeeded, build.output
    assert build.exported == {"IMAGE_TAG": tag}
    assert codebuild.digest(tag) == codebuild.digest("latest")


def test_without_any_version_the_time_names_the_build(codebuild: CodeBuild) -> None:
    build = codebuild.build(CODEBUILD_RESOLVED_SOURCE_VERSION="", CODEBUILD_BUILD_ID="")
    assert build.succeeded, build.output
    assert codebuild.digest(build.exported["IMAGE_TAG"]) == codebuild.digest("latest")


def test_commit_that_was_built_before_gets_a_tag_of_its_own(codebuild: CodeBuild) -> None:
    first = codebuild.build()
    assert first.succeeded, first.output
    before = codebuild.digest(COMMIT)
    (codebuild.directory / "content").write_text("another")
    # what ECR says of an immutable tag; the registry here has none
    codebuild.replace_program(
        "docker",
        f"""
        if [[ "$*" == "push "*:{COMMIT} ]]; then
          echo "tag invalid: The image tag '{COMMIT}' already exists in the 'app' repository" \\
            "and cannot be overwritten because the tag is immutable." >&2
          exit 1
        fi
        exec $REAL "$@" """,
    )
    second = codebuild.build()
    assert second.succeeded, second.output
    assert codebuild.digest(COMMIT) == before
    assert codebuild.digest(f"{COMMIT}-7") == codebuild.digest("latest") != before
    assert second.exported == {"IMAGE_TAG": f"{COMMIT}-7"}


@pytest.mark.parametrize("name", ["AWS_REGION", "ECR_ENDPOINT", "ECR_IMAGE_URL"])
def test_missing_variable_ends_it_at_once(codebuild: CodeBuild, name: str) -> None:
    build = codebuild.build(**{name: ""})
    assert build.failed_phase == "pre_build"
    assert build.output.strip() == f"build.yml: not set: {name}"


@in_both_ways
def test_all_missing_variables_are_named(codebuild: CodeBuild) -> None:
    build = codebuild.build(ECR_ENDPOINT="", ECR_IMAGE_URL="")
    assert build.output.strip() == "build.yml: not set: ECR_ENDPOINT ECR_IMAGE_URL"


def test_no_credentials_end_it(codebuild: CodeBuild) -> None:
    build = codebuild.build(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="", AWS_EC2_METADATA_DISABLED="true")
    assert build.failed_phase == "pre_build"
    assert codebuild.digest("latest") is None


def test_refused_login_ends_it(codebuild: CodeBuild) -> None:
    codebuild.replace_program("aws", "echo wrong")
    build = codebuild.build()
    assert build.failed_phase == "pre_build"
    assert "401" in build.output or "unauthorized" in build.output.lower()


@in_both_ways
def test_failure_before_the_pipe_ends_it(codebuild: CodeBuild) -> None:
    """The password arrives, but the command that prints it fails."""
    codebuild.replace_program("aws", '$REAL "$@"; exit 3')
    build = codebuild.build()
    assert build.failed_phase == "pre_build"
    assert codebuild.digest("latest") is None


@in_both_ways
def test_failure_before_the_pipe_of_the_build_phase_ends_it(codebuild: CodeBuild) -> None:
    """The first login succeeds, the second finds no credentials any more."""
    codebuild.replace_program("aws", 'if [ -e ~/called ]; then exit 255; fi; touch ~/called; exec $REAL "$@"')
    build = codebuild.build()
    assert build.failed_phase == "build"
    assert codebuild.digest("latest") is None


def test_failed_build_ends_it(codebuild: CodeBuild) -> None:
    (codebuild.directory / "Dockerfile").write_text("FROM scratch\nCOPY missing /\n")
    build = codebuild.build()
    assert build.failed_phase == "build"
    assert codebuild.digest("latest") is codebuild.digest(COMMIT) is None
    assert "IMAGE_TAG" not in build.exported or build.exported["IMAGE_TAG"] == COMMIT


def test_failed_push_ends_it(codebuild: CodeBuild, registry: Registry) -> None:
    read_only = Registry(of=registry)
    try:
        url = f"{read_only.endpoint}/{codebuild.repository}"
        build = codebuild.build(ECR_ENDPOINT=read_only.endpoint, ECR_IMAGE_URL=url)
        docker("rmi", "-f", f"{url}:latest", check=False)
    finally:
        read_only.stop()
    assert build.failed_phase == "build"
    assert codebuild.digest("latest") is codebuild.digest(COMMIT) is None


def test_push_of_the_commit_that_fails_for_another_reason_ends_it(codebuild: CodeBuild) -> None:
    script = f'[[ "$*" == "push "*:{COMMIT} ]] && {{ echo "denied: not authorized" >&2; exit 1; }}; exec $REAL "$@"'
    codebuild.replace_program("docker", script)
    build = codebuild.build()
    assert build.failed_phase == "post_build"
    assert "denied: not authorized" in build.output
    assert codebuild.digest(f"{COMMIT}-7") is None


@in_both_ways
def test_post_build_does_nothing_after_a_failed_build(codebuild: CodeBuild) -> None:
    """Although an image of that name is there, from before."""
    docker("build", "-q", "-t", "builtimage", str(codebuild.directory))
    codebuild.replace_program("docker", '[ "$1" = build ] && exit 1; touch ~/docker-$1; exec $REAL "$@"')
    build = codebuild.build()
    assert build.failed_phase == "build"
    used = {path.name for path in codebuild.home.glob("docker-*")}
    assert used == {"docker-login"}
    assert codebuild.digest(COMMIT) is None
