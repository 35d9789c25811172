"""release.yml, run as CodeBuild runs it: real docker, a real registry, the real aws command, moto's ECS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pipeline import aws
from tests.pipeline.aws import Aws
from tests.pipeline.codebuild import ONE_SHELL, SHELL_EACH, Build
from tests.pipeline.conftest import CodeBuild
from tests.pipeline.registry import Registry

pytestmark = pytest.mark.docker


class Service:
    """An ECS service and the repository that it runs from: `old` is released, `new` is to be."""

    def __init__(self, codebuild: CodeBuild, server: Aws, scenario: aws.Scenario, released: bool = True) -> None:
        self.codebuild, self.server = codebuild, server
        self.name = codebuild.repository
        self.variables = server.service(self.name, scenario)
        self.old = codebuild.push("prod", "old") if released else None
        self.new = codebuild.push("latest", "new")
        self.before = server.deployments(self.name)

    def release(self, **environment: str) -> Build:
        return self.codebuild.release(**self.variables | environment)

    @property
    def untouched(self) -> bool:
        """Whether neither the deployment nor what the stage's tag names has changed."""
        same = self.server.deployments(self.name) == self.before and "UpdateService" not in self.server.calls
        return same and self.codebuild.digest("prod") == self.old


@pytest.mark.parametrize(
    ("shells", "released", "scenario"),
    [
        (SHELL_EACH, True, aws.becomes_steady),
        (ONE_SHELL, True, aws.becomes_steady),
        (SHELL_EACH, False, aws.becomes_steady),
        (SHELL_EACH, True, aws.is_seen_late),
    ],
    indirect=["shells"],
    ids=["agent", "documented", "first", "seen-late"],
)
def test_stage_gets_the_image_and_the_service_a_new_deployment(
    codebuild: CodeBuild, aws_server: Aws, released: bool, scenario: aws.Scenario
) -> None:
    service = Service(codebuild, aws_server, scenario, released)
    release = service.release()
    assert release.succeeded, release.output
    assert codebuild.digest("prod") == codebuild.digest("latest") == service.new
    (deployment,) = aws_server.deployments(service.name)
    assert deployment["id"] != service.before[0]["id"]
    assert f"release.yml: deployed: {deployment['id']}\tPRIMARY\tCOMPLETED" in release.output
    # it looked until then: `aws ecs wait services-stable` would have been content at once
    after = aws_server.calls[aws_server.calls.index("UpdateService") :]
    assert after.count("DescribeServices") == len(list(scenario({}, {}))) > 1


def test_service_without_rollout_states_is_waited_for(codebuild: CodeBuild, aws_server: Aws) -> None:
    def scenario(ours: aws.Deployment, before: aws.Deployment) -> Iterator[list[aws.Deployment]]:
        for running in (0, 1, 2):
            listed = [aws.deployment(ours, runningCount=running), aws.deployment(before, status="ACTIVE")]
            for each in listed:
                each.pop("rolloutState")
                each.pop("rolloutStateReason")
            yield listed

    service = Service(codebuild, aws_server, scenario)
    release = service.release()
    assert release.succeeded, release.output
    assert aws_server.deployments(service.name)[0]["runningCount"] == 2


@pytest.mark.parametrize(
    ("shells", "scenario"),
    [
        (SHELL_EACH, aws.is_rolled_back),
        (SHELL_EACH, aws.is_rolled_back_without_a_word),
        (ONE_SHELL, aws.is_rolled_back_unseen),
        (SHELL_EACH, aws.is_rolled_back_to_the_same),
    ],
    indirect=["shells"],
    ids=["seen", "without-a-word", "unseen-documented", "to-the-same"],
)
def test_rollback_fails_it_and_the_tag_names_what_runs(
    codebuild: CodeBuild, aws_server: Aws, scenario: aws.Scenario
) -> None:
    service = Service(codebuild, aws_server, scenario)
    events = [{"id": "1", "createdAt": 1763800000, "message": "(service web) (task 1) failed container health checks."}]
    # not before: update-service prints the service as it is then
    aws_server.after["UpdateService"] = lambda: aws_server.events(service.name, events)
    release = service.release()
    assert release.failed_phase == "post_build"
    assert "release.yml: not deployed: " in release.output
    assert "(service web) (task 1) failed container health checks." in release.output
    assert codebuild.digest("prod") == service.old


def test_rollback_is_not_taken_for_its_own_deployment(codebuild: CodeBuild, aws_server: Aws) -> None:
    """Whatever held the build up: when it looks for the first time, all is over."""

    def scenario(ours: aws.Deployment, before: aws.Deployment) -> Iterator[list[aws.Deployment]]:
        *_, last = aws.is_rolled_back(ours, before)
        yield last

    service = Service(codebuild, aws_server, scenario)
    assert service.release(RELEASE_TIMEOUT="1").failed_phase == "post_build"
    assert codebuild.digest("prod") == service.old


def test_first_release_that_is_rolled_back_fails(codebuild: CodeBuild, aws_server: Aws) -> None:
    service = Service(codebuild, aws_server, aws.is_rolled_back, released=False)
    release = service.release()
    assert release.failed_phase == "post_build"
    assert codebuild.digest("prod") == service.new


def test_another_deployment_taking_over_fails_it(codebuild: CodeBuild, aws_server: Aws) -> None:
    """The other one took what the tag names, so the tag stays."""
    service = Service(codebuild, aws_server, aws.is_replaced)
    release = service.release()
    assert release.failed_phase == "post_build"
    assert "ecs-svc/theirs\tPRIMARY" in release.output
    assert codebuild.digest("prod") == service.new


def test_deployment_that_never_becomes_steady_fails_it(codebuild: CodeBuild, aws_server: Aws) -> None:
    """It is still going on, so the tag stays."""
    service = Service(codebuild, aws_server, aws.never_becomes_steady)
    release = service.release(RELEASE_TIMEOUT="1")
    assert release.failed_phase == "post_build"
    assert "PRIMARY IN_PROGRESS" in release.output
    assert "for 1 seconds" in release.output
    assert codebuild.digest("prod") == service.new


def test_a_look_that_is_not_answered_ends_nothing(codebuild: CodeBuild, aws_server: Aws) -> None:
    service = Service(codebuild, aws_server, aws.becomes_steady)
    codebuild.replace_program(
        "aws",
        """
        if [ "$2" = describe-services ] && [ -e ~/updated ] && [ ! -e ~/failed ]; then touch ~/failed; exit 255; fi
        if [ "$2" = update-service ]; then touch ~/updated; fi
        exec $REAL "$@"
        """,
    )
    release = service.release()
    assert (codebuild.home / "failed").exists()
    assert release.succeeded, release.output


def test_deployment_of_which_nothing_is_heard_fails_it(codebuild: CodeBuild, aws_server: Aws) -> None:
    """It may still be going on, so the tag stays."""
    service = Service(codebuild, aws_server, aws.becomes_steady)
    codebuild.replace_program(
        "aws",
        """
        if [ "$2" = describe-services ] && [ -e ~/updated ]; then exit 255; fi
        if [ "$2" = update-service ]; then touch ~/updated; fi
        exec $REAL "$@"
        """,
    )
    release = service.release(RELEASE_TIMEOUT="1")
    assert release.failed_phase == "post_build"
    assert "not deployed: no answer for 1 seconds" in release.output
    assert codebuild.digest("prod") == service.new


@pytest.mark.parametrize(
    "name", ["ECR_ENDPOINT", "ECR_IMAGE_URL", "PREVIOUS_STAGE_NAME", "STAGE_NAME", "SERVICE_NAME", "CLUSTER_ARN"]
)
def test_missing_variable_ends_it_at_once(codebuild: CodeBuild, aws_server: Aws, name: str) -> None:
    aws_server.calls.clear()
    variables = {"SERVICE_NAME": "web", "CLUSTER_ARN": "web"}
    release = codebuild.release(**variables | {name: ""})
    assert release.failed_phase == "pre_build"
    assert release.output.strip() == f"release.yml: not set: {name}"
    assert aws_server.calls == []


@pytest.mark.parametrize("name", ["SERVICE_NAME", "CLUSTER_ARN"])
def test_missing_service_ends_it(codebuild: CodeBuild, aws_server: Aws, name: str) -> None:
    service = Service(codebuild, aws_server, aws.becomes_steady)
    release = service.release(**{name: "missing"})
    assert release.failed_phase == "pre_build"
    assert "missing" in release.output or "ClusterNotFoundException" in release.output
    assert service.untouched


def test_service_that_is_being_deleted_ends_it(codebuild: CodeBuild, aws_server: Aws) -> None:
    service = Service(codebuild, aws_server, aws.becomes_steady)
    aws_server.drain(service.name)
    release = service.release()
    assert release.failed_phase == "pre_build"
    assert f"release.yml: there is no active service {service.name} in " in release.output
    assert service.untouched


def test_failed_login_ends_it(codebuild: CodeBuild, aws_server: Aws) -> None:
    service = Service(codebuild, aws_server, aws.becomes_steady)
    codebuild.replace_program("aws", '[ "$1" = ecr ] && { echo wrong; exit 0; }; exec $REAL "$@"')
    assert service.release().failed_phase == "pre_build"
    assert service.untouched


@pytest.mark.parametrize(
    # the agent's shells forget pipefail; a command that fails after it has printed the right password has logged in
    ("shells", "prints"),
    [(SHELL_EACH, ""), (ONE_SHELL, ""), (ONE_SHELL, "$REAL")],
    indirect=["shells"],
    ids=["agent-nothing", "documented-nothing", "documented-password"],
)
def test_failure_before_the_pipe_of_the_build_phase_ends_it(codebuild: CodeBuild, aws_server: Aws, prints: str) -> None:
    """The first login succeeds, the second time the command fails."""
    service = Service(codebuild, aws_server, aws.becomes_steady)
    second = f'{prints} "$@"; exit 3' if prints else "exit 3"
    codebuild.replace_program(
        "aws", f'if [ "$1" = ecr ]; then [ -e ~/called ] && {{ {second}; }}; touch ~/called; fi; exec $REAL "$@"'
    )
    assert service.release().failed_phase == "build"
    assert service.untouched


@pytest.mark.parametrize(
    ("said", "ends"),
    [
        # of an engine that keeps images as containerd does; what the other kind says, the first release above shows
        ('failed to resolve reference "{url}": {url}: not found', False),
        ('failed to pull and unpack image "{url}": failed to copy: layer: not found', True),
        ('Get "https://registry/v2/": net/http: TLS handshake timeout', True),
    ],
    ids=["no such tag", "no such layer", "time-out"],
)
def test_only_a_missing_tag_means_that_nothing_was_released(
    codebuild: CodeBuild, aws_server: Aws, said: str, ends: bool
) -> None:
    """After any other failure to pull, a rollback would have no image to give the tag back to."""
    service = Service(codebuild, aws_server, aws.becomes_steady)
    message = said.format(url=codebuild.url("prod"))
    codebuild.replace_program(
        "docker", f"""[[ $* == "pull "*:prod ]] && {{ echo '{message}' >&2; exit 1; }}; exec $REAL "$@" """
    )
    release = service.release()
    assert message in release.output
    assert ("Nothing was changed: release again" in release.output) == ends
    assert release.failed_phase == ("pre_build" if ends else None)
    assert service.untouched == ends


def test_failed_pull_ends_it(codebuild: CodeBuild, aws_server: Aws) -> None:
    service = Service(codebuild, aws_server, aws.becomes_steady)
    release = service.release(PREVIOUS_STAGE_NAME="never-built")
    assert release.failed_phase == "build"
    assert service.untouched


def test_failed_push_ends_it(codebuild: CodeBuild, aws_server: Aws, registry: Registry) -> None:
    service = Service(codebuild, aws_server, aws.becomes_steady)
    read_only = Registry(of=registry)
    try:
        url = f"{read_only.endpoint}/{codebuild.repository}"
        release = service.release(ECR_ENDPOINT=read_only.endpoint, ECR_IMAGE_URL=url)
    finally:
        read_only.stop()
    assert release.failed_phase == "build"
    assert service.untouched


def test_refused_update_ends_it(codebuild: CodeBuild, aws_server: Aws) -> None:
    service = Service(codebuild, aws_server, aws.becomes_steady)
    script = '[ "$2" = update-service ] && { echo AccessDeniedException >&2; exit 254; }; exec $REAL "$@"'
    codebuild.replace_program("aws", script)
    release = service.release()
    assert release.failed_phase == "build"
    assert aws_server.deployments(service.name) == service.before


def test_post_build_does_nothing_after_a_failed_build(codebuild: CodeBuild, aws_server: Aws) -> None:
    service = Service(codebuild, aws_server, aws.becomes_steady)
    codebuild.replace_program("docker", 'touch ~/docker-$1; [ "$1" = push ] && exit 1; exec $REAL "$@"')
    release = service.release()
    assert release.failed_phase == "build"
    # the one look of pre_build
    assert aws_server.calls.count("DescribeServices") == 1
    assert (codebuild.home / "docker-push").exists()
    assert service.untouched
