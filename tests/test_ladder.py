"""One ladder of time: who waits above gives up later than who is below, read from what the programs are given."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from app import keys
from app.stores import dynamodb_attempts, dynamodb_client
from entrypoint import healthcheck, settings, watch
from entrypoint.limits import MIB, Limits
from entrypoint.nginx import nginx_values, render
from tests.infra.template import Stack
from tests.running import ROOT

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "": 1}


@pytest.fixture(scope="module")
def defaults():
    return settings.Settings.from_environment({}, Limits(2, 512 * MIB))


@pytest.fixture(scope="module")
def nginx(defaults):
    """The rendered files, without comments."""
    values = nginx_values(defaults)
    texts = [render(path.read_text(), values, path.name) for path in sorted((ROOT / "nginx").glob("*.conf"))]
    return re.sub(r"(?m)^\s*#.*\n", "", "\n".join(texts))


def directive(nginx, name):
    """The values of a directive, wherever it stands."""
    return [words.split() for words in re.findall(rf"(?m)^\s*{name}\s+([^;]+);", nginx)]


def seconds(nginx, name):
    """The one time that a directive is set to, in all the places that have it."""
    (value,) = {words[0] for words in directive(nginx, name)}
    number, unit = re.fullmatch(r"(\d+)(\w*)", value).groups()
    return int(number) * UNITS[unit]


@pytest.fixture(scope="module")
def gunicorn(defaults, tmp_path_factory):
    """What Gunicorn itself makes of its configuration file, as text."""
    environment = {
        "PATH": os.environ["PATH"],
        "RUN_DIR": str(tmp_path_factory.mktemp("run")),
        "APP_MODULE": "wsgiref.simple_server:demo_app",
        "WEB_CONCURRENCY": str(defaults.workers),
    }
    command = [sys.executable, "-m", "gunicorn", "--config", "gunicorn.conf.py", "--print-config"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return dict(re.findall(r"(?m)^(\w+)\s+= (.*)$", done.stdout))


@pytest.fixture(scope="module")
def supervisord():
    parser = configparser.RawConfigParser()
    parser.read(ROOT / "supervisord.conf")
    return parser


@pytest.fixture(scope="module")
def service():
    return Stack("service")


@pytest.fixture(scope="module")
def task(service):
    (container,) = service.properties("TaskDefinition")["ContainerDefinitions"]
    return container


def attribute(service, resource, key):
    properties = service.properties(resource)
    attributes = properties.get("LoadBalancerAttributes") or properties.get("TargetGroupAttributes")
    return int(next(each["Value"] for each in attributes if each["Key"] == key))


@pytest.fixture(scope="module")
def rungs(defaults, nginx, gunicorn, supervisord, service, task):
    dockerfile = (ROOT / "Dockerfile").read_text()
    client = dynamodb_client
    return {
        # the last attempt begins at LAST_RETRY after a pause of at most 2 s
        "DynamoDB": dynamodb_attempts.LAST_RETRY + 2 + client.CONNECT + client.READ,
        "10 s for AWS": 10,
        "all of AWS": dynamodb_attempts.LAST_RETRY
        + 2
        + client.CONNECT
        + client.READ
        + client.PATIENCE
        + keys.WHOLE_FETCH,
        "Nginx waits for an answer": seconds(nginx, "proxy_read_timeout"),
        "Nginx waits for a connection and an answer": seconds(nginx, "proxy_connect_timeout")
        + seconds(nginx, "proxy_send_timeout")
        + seconds(nginx, "proxy_read_timeout"),
        "Gunicorn ends a worker": int(gunicorn["timeout"]),
        "the balancer closes an idle connection": attribute(service, "LoadBalancer", "idle_timeout.timeout_seconds"),
        "Nginx closes an idle connection": seconds(nginx, "keepalive_timeout"),
        "Nginx waits for a slow client": max(
            seconds(nginx, name)
            for name in ("client_header_timeout", "client_body_timeout", "send_timeout", "lingering_timeout")
        ),
        "Nginx drains": seconds(nginx, "worker_shutdown_timeout"),
        "Gunicorn drains": int(gunicorn["graceful_timeout"]),
        "supervisord waits for Nginx": int(supervisord["program:nginx"]["stopwaitsecs"]),
        "supervisord waits for Gunicorn": int(supervisord["program:gunicorn"]["stopwaitsecs"]),
        "a stop in all": defaults.drain_seconds
        + int(supervisord["program:nginx"]["stopwaitsecs"])
        + int(supervisord["program:gunicorn"]["stopwaitsecs"]),
        "ECS kills": task["StopTimeout"],
        "ECS may kill": 120 + 1,
        "the balancer lets go": attribute(service, "TargetGroup", "deregistration_delay.timeout_seconds"),
        "clients may stay": defaults.drain_seconds,
        "docker stop kills": 10,
        "a health check waits": healthcheck.TIMEOUT,
        "Docker waits for a health check": int(re.search(r"--timeout=(\d+)s", dockerfile)[1]),
        "Nginx is taken for hung": watch.ANSWER_SECONDS,
    }


LADDERS = [
    ["DynamoDB", "10 s for AWS", "Nginx waits for an answer", "Gunicorn ends a worker",
     "the balancer closes an idle connection", "Nginx closes an idle connection"],
    ["all of AWS", "Nginx waits for an answer"],
    # a request ends before those who wait for it do
    ["Nginx waits for an answer", "Nginx drains", "supervisord waits for Nginx"],
    ["Nginx waits for a slow client", "Nginx drains"],
    ["Nginx drains", "the balancer lets go"],
    ["Gunicorn drains", "supervisord waits for Gunicorn", "ECS kills", "ECS may kill"],
    ["a stop in all", "ECS kills"],
    ["clients may stay", "docker stop kills"],
    ["a health check waits", "Docker waits for a health check"],
    ["Nginx waits for a connection and an answer", "Nginx is taken for hung"],
]  # fmt: skip


@pytest.mark.parametrize("ladder", LADDERS, ids=" < ".join)
def test_every_rung_is_above_the_one_before(rungs, ladder):
    for lower, upper in pairwise(ladder):
        assert rungs[lower] < rungs[upper], f"{lower} ({rungs[lower]} s) < {upper} ({rungs[upper]} s)"


def test_gunicorn_drains_as_long_as_a_request_may_take(rungs):
    assert rungs["Gunicorn drains"] >= rungs["Nginx waits for an answer"]


def test_nginx_is_the_one_that_closes_connections_to_gunicorn(nginx, gunicorn):
    """A connection that Gunicorn closes may be about to be used."""
    kept = re.search(r"upstream gunicorn \{(.*?)\n\}", nginx, re.S)[1]
    if directive(kept, "keepalive"):
        assert seconds(kept, "keepalive_timeout") < int(gunicorn["keepalive"])
    else:
        # one request a connection: Nginx's default, and Gunicorn's answer says so
        assert int(gunicorn["keepalive"]) == 0


def test_what_passes_nginx_is_not_too_long_for_gunicorn(nginx, gunicorn):
    ((_, size),) = directive(nginx, "large_client_header_buffers")
    length = int(size.removesuffix("k")) * 1024
    # without the two bytes at its end
    assert int(gunicorn["limit_request_line"]) >= length - 2
    assert int(gunicorn["limit_request_field_size"]) >= length
    ((count,),) = directive(nginx, "max_headers")
    # and those that Nginx sets
    assert int(gunicorn["limit_request_fields"]) >= int(count) + len(directive(nginx, "proxy_set_header"))


def test_the_queue_and_the_threads_are_gunicorn_s(gunicorn):
    assert int(gunicorn["threads"]) == settings.THREADS
    assert int(gunicorn["backlog"]) == settings.BACKLOG
    assert int(gunicorn["threads"]) <= dynamodb_client.POOL


def test_the_time_that_an_error_names_is_the_time_that_was_waited(nginx):
    (named,) = re.findall(r"did not answer within (\d+) seconds", nginx)
    assert int(named) == seconds(nginx, "proxy_read_timeout")


def test_the_sizes_that_an_error_names_are_the_limits(nginx):
    ((number, size),) = directive(nginx, "large_client_header_buffers")
    ((count,),) = directive(nginx, "max_headers")
    length = int(size.removesuffix("k"))
    (detail,) = re.findall(r'431 "(A header field .*)"', nginx)
    assert re.findall(r"\d+", detail) == [str(length), str(int(number) * length), count]


def test_ecs_checks_health_as_the_image_does(task):
    pattern = r"HEALTHCHECK --interval=(\d+)s --timeout=(\d+)s --start-period=(\d+)s --retries=(\d+) CMD \[(.*)\]"
    *numbers, command = re.search(pattern, (ROOT / "Dockerfile").read_text()).groups()
    check = task["HealthCheck"]
    assert [check[key] for key in ("Interval", "Timeout", "StartPeriod", "Retries")] == [
        int(number) for number in numbers
    ]
    assert check["Command"] == ["CMD", *(word.strip(' "') for word in command.split(","))]


def test_no_program_is_left_to_defaults(supervisord):
    """Whatever supervisord starts has a time to stop; the sum above would miss another."""
    programs = [section for section in supervisord.sections() if section.startswith("program:")]
    assert programs == ["program:gunicorn", "program:nginx"]
    assert Path(ROOT / "supervisord.conf").read_text().count("stopwaitsecs") == 2
