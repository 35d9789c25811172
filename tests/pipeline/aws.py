"""moto as an HTTP server, with an ECS that deploys step by step as a scenario says."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
from moto.ecs.models import ecs_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

REGION, ACCOUNT = "eu-west-1", "123456789012"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

Deployment = dict[str, Any]
# Is given our deployment and the one before, and yields what describe-services lists, call by call.
Scenario = Callable[[Deployment, Deployment], Iterator[list[Deployment]]]


def deployment(of: Deployment, **changes: Any) -> Deployment:
    """A copy with changes; `id` in it makes it another one."""
    return copy.deepcopy(of) | {"updatedAt": datetime.now(UTC)} | changes


def becomes_steady(ours: Deployment, before: Deployment) -> Iterator[list[Deployment]]:
    for running in (2, 1):
        yield [ours, deployment(before, status="ACTIVE", runningCount=running)]
    yield [deployment(ours, rolloutState="COMPLETED")]


def is_seen_late(ours: Deployment, before: Deployment) -> Iterator[list[Deployment]]:
    """The first look shows what was, and later ones list, in any order, also what was in progress before."""
    yield [before]
    yield [deployment(before, id="ecs-svc/older", status="ACTIVE"), ours, deployment(before, status="ACTIVE")]
    yield [deployment(ours, rolloutState="COMPLETED")]


def is_rolled_back(ours: Deployment, before: Deployment) -> Iterator[list[Deployment]]:
    """The circuit breaker fails ours and starts a third deployment, with what ran before."""
    reason = f"ECS deployment circuit breaker: rolling back to deploymentId {before['id']}."
    third = deployment(before, id="ecs-svc/rollback", rolloutState="IN_PROGRESS", rolloutStateReason=reason)
    failed = "ECS deployment circuit breaker: tasks failed to start."
    yield [ours, deployment(before, status="ACTIVE")]
    yield [third, deployment(ours, status="ACTIVE", rolloutState="FAILED", rolloutStateReason=failed)]
    yield [deployment(third, rolloutState="COMPLETED")]


def is_rolled_back_without_a_word(ours: Deployment, before: Deployment) -> Iterator[list[Deployment]]:
    """As above, but the third does not say what it is."""
    for listed in is_rolled_back(ours, before):
        yield [deployment(each, rolloutStateReason="") for each in listed]


def is_rolled_back_unseen(ours: Deployment, before: Deployment) -> Iterator[list[Deployment]]:
    """As above, but between two looks."""
    *_, last = is_rolled_back(ours, before)
    yield [ours, deployment(before, status="ACTIVE")]
    yield last


def is_rolled_back_to_the_same(ours: Deployment, before: Deployment) -> Iterator[list[Deployment]]:
    """The deployment before is the service's again."""
    yield [ours, deployment(before, status="ACTIVE")]
    yield [before]


def is_replaced(ours: Deployment, before: Deployment) -> Iterator[list[Deployment]]:
    """Somebody deploys while ours is in progress; theirs becomes steady."""
    theirs = deployment(ours, id="ecs-svc/theirs")
    yield [ours, deployment(before, status="ACTIVE")]
    yield [theirs, deployment(ours, status="ACTIVE"), deployment(before, status="ACTIVE")]
    yield [deployment(theirs, rolloutState="COMPLETED")]


def never_becomes_steady(ours: Deployment, before: Deployment) -> Iterator[list[Deployment]]:
    yield [ours, deployment(before, status="ACTIVE")]


class Aws:
    """The server. `service(…)` makes a service that is in a steady state."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        # called after moto has answered the operation of that name
        self.after: dict[str, Callable[[], None]] = {}
        self.scenario: Scenario = becomes_steady
        self._steps: Iterator[list[Deployment]] = iter(())
        self._application = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True, request_handler=_QuietHandler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def environment(self) -> dict[str, str]:
        """What the aws command needs."""
        return CREDENTIALS | {"AWS_ENDPOINT_URL": self.url, "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION}

    def client(self, name: str) -> Any:
        return boto3.client(
            name, region_name=REGION, endpoint_url=self.url, aws_access_key_id="test", aws_secret_access_key="test"
        )

    def service(self, name: str, scenario: Scenario = becomes_steady) -> dict[str, str]:
        """Make a service in a cluster of the same name; returns what release.yml has to be told about it."""
        ecs = self.client("ecs")
        cluster = ecs.create_cluster(clusterName=name)["cluster"]["clusterArn"]
        container = {"name": "web", "image": "web", "memory": 64}
        ecs.register_task_definition(family=name, containerDefinitions=[container])
        ecs.create_service(cluster=name, serviceName=name, taskDefinition=name, desiredCount=2)
        self._deployments(name)[:] = [deployment(self.deployments(name)[0], runningCount=2, rolloutState="COMPLETED")]
        self.scenario, self.calls, self.after = scenario, [], {}
        return {"SERVICE_NAME": name, "CLUSTER_ARN": cluster}

    def deployments(self, name: str) -> list[Deployment]:
        return copy.deepcopy(self._deployments(name))

    def events(self, name: str, events: list[dict[str, Any]]) -> None:
        """What describe-services lists as the service's events."""
        ecs_backends[ACCOUNT][REGION].services[f"{name}:{name}"].events = events

    def drain(self, name: str) -> None:
        """The service is being deleted."""
        ecs_backends[ACCOUNT][REGION].services[f"{name}:{name}"].status = "DRAINING"

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join(10)

    def _deployments(self, name: str) -> list[Deployment]:
        return ecs_backends[ACCOUNT][REGION].services[f"{name}:{name}"].deployments

    def _serve(self, environ: dict[str, Any], start_response: Any) -> Any:
        operation = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        # moto's reads and writes are not atomic, nor are ours
        with self._lock:
            self.calls.append(operation)
            services = ecs_backends[ACCOUNT][REGION].services
            if operation == "DescribeServices" and (listed := next(self._steps, None)):
                self._current.deployments[:] = listed
            befores = {name: copy.deepcopy(service.deployments) for name, service in services.items()}
            answer = self._application(environ, start_response)
            if operation == "UpdateService":
                self._start(services, befores)
        if operation in self.after:
            self.after[operation]()
        return answer

    def _start(self, services: dict[str, Any], befores: dict[str, list[Deployment]]) -> None:
        for name, service in services.items():
            if service.deployments and service.deployments[0]["id"] != befores[name][0]["id"]:
                ours = deployment(
                    service.deployments[0], runningCount=0, rolloutState="IN_PROGRESS", rolloutStateReason=""
                )
                self._current, self._steps = service, self.scenario(ours, befores[name][0])


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, *_: Any) -> None:
        pass
