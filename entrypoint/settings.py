"""The container's settings, read from the environment once and validated."""

from __future__ import annotations

import math
import resource
from collections.abc import Mapping
from dataclasses import dataclass

from .environment import Environment
from .limits import MIB, Limits

THREADS = 4
# what a worker and everything beside the workers need, with the sample application and boto3
WORKER_MEMORY, BASE_MEMORY = 48 * MIB, 80 * MIB
# requests that may wait for each thread before Nginx answers 503
WAITING_PER_THREAD = 32
CONNECTIONS = 16_384

_MODULE = r"[A-Za-z_][\w.]*(:[A-Za-z_][\w.]*(\(.*\))?)?"


@dataclass(frozen=True, slots=True)
class Settings:
    """Sizes are in bytes, counts are for the whole container. The README has a row for each variable."""

    port: int
    app_module: str
    run_dir: str
    workers: int
    workers_reason: str
    nginx_workers: int
    nginx_connections: int
    max_body_size: int
    trusted_proxies: list[str]
    rate_limit: int
    connections_per_ip: int
    log_level: str
    static_url: str
    static_path: str

    @classmethod
    def from_environment(cls, variables: Mapping[str, str], limits: Limits) -> Settings:
        """Raises SettingError for a value that cannot be used."""
        environment = Environment(variables)
        workers = environment.integer("WEB_CONCURRENCY", default=0, low=1, high=256)
        return cls(
            port=environment.integer("PORT", "LISTEN_PORT", default=80, low=1, high=65535),
            app_module=environment.text(
                "APP_MODULE", default="app.wsgi:app", pattern=_MODULE, allowed="module:name or module:factory()"
            ),
            run_dir=environment.text(
                "RUN_DIR",
                default="/dev/shm/app",
                pattern=r"/[\w./-]{1,80}",
                allowed="an absolute path of 80 characters",
            ),
            workers=workers or default_workers(limits),
            workers_reason="WEB_CONCURRENCY" if workers else str(limits),
            nginx_workers=environment.integer(
                "NGINX_WORKER_PROCESSES", default=min(4, math.ceil(limits.cpus)), low=1, high=64
            ),
            nginx_connections=min(CONNECTIONS, open_files() * 2 // 3),
            max_body_size=environment.max_body_size(),
            trusted_proxies=environment.networks("TRUSTED_PROXIES"),
            rate_limit=environment.integer("RATE_LIMIT", default=0, low=0, high=1_000_000),
            connections_per_ip=environment.integer("CONNECTIONS_PER_IP", default=0, low=0, high=65_535),
            log_level=environment.choice("LOG_LEVEL", "info", ("debug", "info", "warning", "error", "critical")),
            static_url=environment.text(
                "STATIC_URL", default="/static", pattern=r"/[\w./-]*[\w-]", allowed="a path such as /static"
            ),
            static_path=environment.text(
                "STATIC_PATH", pattern=r"/[\w./-]+", allowed="the absolute path of a directory, such as /app/static"
            ),
        )

    @property
    def max_waiting(self) -> int:
        """How many requests may be in Gunicorn or wait for it."""
        return self.workers * THREADS * WAITING_PER_THREAD


def default_workers(limits: Limits) -> int:
    """A worker a CPU and at least two, so that one that is stuck does not stop the service, as far as memory allows."""
    workers = max(2, math.ceil(limits.cpus))
    if limits.memory is not None:
        workers = min(workers, (limits.memory - BASE_MEMORY) // WORKER_MEMORY)
    return max(1, min(workers, 32))


def open_files() -> int:
    """How many files a process may open at most."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return CONNECTIONS * 4 if hard == resource.RLIM_INFINITY else hard
