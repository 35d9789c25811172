"""The ladder of time from the load balancer down to Gunicorn: every rung is read from the file that holds it."""

from __future__ import annotations

import re

import pytest

from tests.infra.template import Stack
from tests.running import ROOT


def number(file: str, pattern: str) -> int:
    """The one number that the pattern finds in a file, outside of comments."""
    lines = [line for line in (ROOT / file).read_text().splitlines() if not re.match(r"\s*[#;]", line)]
    (found,) = re.findall(pattern, "\n".join(lines), re.M)
    return int(found)


def stop_wait(program: str) -> int:
    section = (ROOT / "supervisord.conf").read_text().partition(f"[program:{program}]")[2].partition("\n[")[0]
    return int(re.search(r"^stopwaitsecs = (\d+)", section, re.M)[1])


@pytest.fixture(scope="module")
def rungs(service: Stack) -> dict[str, int]:
    balancer = service.properties("LoadBalancer")["LoadBalancerAttributes"]
    target = service.properties("TargetGroup")["TargetGroupAttributes"]
    (container,) = service.properties("TaskDefinition")["ContainerDefinitions"]
    attributes = {each["Key"]: each["Value"] for each in balancer + target}
    return {
        "nginx answer": number("nginx/proxy.conf", r"^proxy_read_timeout (\d+)s;"),
        "nginx idle client": number("nginx/time-limits.conf", r"^keepalive_timeout (\d+)s;"),
        "nginx drain": number("nginx/nginx.conf", r"^worker_shutdown_timeout (\d+)s;"),
        "gunicorn answer": number("gunicorn.conf.py", r"^timeout = (\d+)"),
        "gunicorn drain": number("gunicorn.conf.py", r"^graceful_timeout = (\d+)"),
        "drain": number("entrypoint/settings.py", r'"DRAIN_SECONDS", default=(\d+)'),
        "supervisord waits for nginx": stop_wait("nginx"),
        "supervisord waits for gunicorn": stop_wait("gunicorn"),
        "balancer idle": int(attributes["idle_timeout.timeout_seconds"]),
        "balancer deregistration": int(attributes["deregistration_delay.timeout_seconds"]),
        "ecs stop": container["StopTimeout"],
    }


@pytest.mark.parametrize(
    "ascending",
    [
        # whoever waits above gives up later than the one below
        ["nginx answer", "gunicorn answer", "balancer idle"],
        # the load balancer closes idle connections, never the container
        ["balancer idle", "nginx idle client"],
        # requests end by themselves before anybody is stopped
        ["nginx answer", "nginx drain", "supervisord waits for nginx"],
        ["nginx drain", "balancer deregistration"],
        ["gunicorn drain", "supervisord waits for gunicorn"],
    ],
    ids=" < ".join,
)
def test_rungs_ascend(rungs: dict[str, int], ascending: list[str]) -> None:
    values = [rungs[name] for name in ascending]
    assert values == sorted(set(values)), dict(zip(ascending, values, strict=True))


def test_ecs_waits_longer_than_a_stop_takes_and_no_longer_than_fargate_allows(rungs: dict[str, int]) -> None:
    stop = rungs["drain"] + rungs["supervisord waits for nginx"] + rungs["supervisord waits for gunicorn"]
    assert stop < rungs["ecs stop"] <= 120


def test_release_gives_up_before_codebuild_does(pipeline: Stack) -> None:
    """It says why, and gives the tag back; five minutes are for the images."""
    waits = int(re.search(r"SECONDS \+ \$\{RELEASE_TIMEOUT:-(\d+)\}", (ROOT / "release.yml").read_text())[1])
    assert waits + 300 <= 60 * pipeline.properties("Release")["TimeoutInMinutes"]


def test_health_check_is_the_image_s_own(service: Stack) -> None:
    (container,) = service.properties("TaskDefinition")["ContainerDefinitions"]
    check = container["HealthCheck"]
    pattern = r"HEALTHCHECK --interval=(\d+)s --timeout=(\d+)s --start-period=(\d+)s --retries=(\d+) CMD \[(.*)\]"
    interval, timeout, start, retries, command = re.search(pattern, (ROOT / "Dockerfile").read_text()).groups()
    assert check["Command"] == ["CMD", *(word.strip(' "') for word in command.split(","))]
    given = (check["Interval"], check["Timeout"], check["StartPeriod"], check["Retries"])
    assert given == (int(interval), int(timeout), int(start), int(retries))
