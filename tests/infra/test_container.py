"""The task definition's container, started here with the same settings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.infra.template import Stack
from tests.running import Container, docker, wait_for

pytestmark = pytest.mark.docker


def open_files(image: str) -> int:
    """How many a process may open in this engine's containers, which nobody can raise in all of them."""
    return int(docker("run", "--rm", "--entrypoint=sh", image, "-c", "ulimit -Hn"))


def run_options(stack: Stack, image: str) -> list[str]:
    """What `docker run` has to be told to start the container as Fargate does."""
    task = stack.properties("TaskDefinition")
    (definition,) = task["ContainerDefinitions"]
    linux, check = definition["LinuxParameters"], definition["HealthCheck"]
    options = [
        # Fargate's rule, where Docker allows every port
        "--sysctl=net.ipv4.ip_unprivileged_port_start=1024",
        "--read-only",
        f"--user={definition['User']}",
        f"--memory={definition['Memory']}m",
        f"--cpus={int(task['Cpu']) / 1024}",
        f"--stop-timeout={definition['StopTimeout']}",
        f"--health-cmd={' '.join(check['Command'][1:])}",
        f"--health-timeout={check['Timeout']}s",
        f"--health-retries={check['Retries']}",
        f"--health-start-period={check['StartPeriod']}s",
        # shorter than ECS's, which this test has no time for
        "--health-interval=1s",
    ]
    options += [f"--cap-drop={name}" for name in linux["Capabilities"]["Drop"]]
    for tmpfs in linux["Tmpfs"]:
        mount = ",".join([f"size={tmpfs['Size']}m", *tmpfs["MountOptions"]])
        options.append(f"--tmpfs={tmpfs['ContainerPath']}:{mount}")
    for limit in definition["Ulimits"]:
        soft, hard = (min(limit[kind], open_files(image)) for kind in ("SoftLimit", "HardLimit"))
        options.append(f"--ulimit={limit['Name']}={soft}:{hard}")
    return options


@pytest.fixture(scope="module")
def running(service: Stack, image: str) -> Iterator[Container]:
    (definition,) = service.properties("TaskDefinition")["ContainerDefinitions"]
    environment = {each["Name"]: each["Value"] for each in definition["Environment"]}
    # these are what CloudFormation puts in
    environment |= {
        "TABLE_NAME": "flask-crud-app-prod-Table-1A2B3C",
        "COGNITO_USER_POOL_ID": "eu-west-1_Ab1Cd2Ef3",
        "COGNITO_CLIENT_ID": "1h57kf5cpq17m0eml12EXAMPLE",
    }
    inside = definition["PortMappings"][0]["ContainerPort"]
    container = Container(*run_options(service, image), image=image, inside=inside, **environment)
    yield container.wait_ready()
    container.remove()


def test_it_answers(running: Container) -> None:
    assert running.get("/ping").status == 200
    created = running.api("PUT", "/item", {"title": "t", "content": "c" * 50_000})
    assert created.status == 201
    assert running.get(created.headers["Location"]).status == 200


def test_it_is_healthy_by_the_task_definition_s_check(running: Container) -> None:
    wait_for(lambda: running.inspect("State.Health.Status") == "healthy", 20, "the container is healthy")


def test_its_processes_have_no_capabilities_and_are_nobody(running: Container) -> None:
    for process in [{"pid": int(running.inspect("State.Pid"))}, *running.processes()]:
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{process['pid']}/status").read_text().splitlines()
            if ":\t" in line
        )
        assert status["CapEff"] == status["CapBnd"] == "0" * 16
        assert status["Uid"].split() == ["10001"] * 4


def test_its_root_cannot_be_written(running: Container) -> None:
    for path in ("/app/x", "/etc/x", "/opt/venv/x"):
        script = f"open({path!r}, 'w')"
        assert "Read-only file system" in running.exec(
            "python", "-I", "-c", f"try: {script}\nexcept OSError as e: print(e)"
        )
    running.exec("python", "-I", "-c", "open('/tmp/x', 'w').write('x')")


def test_it_stops_long_before_it_would_be_killed(service: Stack, running: Container) -> None:
    started = time.monotonic()
    docker("stop", running.id)
    assert running.inspect("State.ExitCode") == 0
    (definition,) = service.properties("TaskDefinition")["ContainerDefinitions"]
    assert time.monotonic() - started < definition["StopTimeout"] / 4
