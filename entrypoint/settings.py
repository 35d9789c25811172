"""The container's settings, read from the environment once and validated."""

from __future__ import annotations

import math
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .environment import Environment, SettingError
from .limits import MIB, Limits
from .logs import LEVELS

# of a Gunicorn worker
THREADS = 8
# what a worker and everything beside the workers need, with the sample application and boto3
WORKER_MEMORY, BASE_MEMORY = 48 * MIB, 80 * MIB
# requests that may wait for each thread before Nginx answers 503
WAITING_PER_THREAD = 16
# connections that may wait on Gunicorn's socket
BACKLOG = 2048
CONNECTIONS = 16_384
# what a connection whose client does not read a large answer costs Nginx (bench/attack.py); one whose header or body
# does not end costs 10 or 23 KiB
CONNECTION_MEMORY = 40 * 1024

_MODULE = r"[A-Za-z_][\w.]*(:[A-Za-z_][\w.]*(\(.*\))?)?"


@dataclass(frozen=True, slots=True)
class Settings:
    """Sizes are in bytes, counts are for the whole container. The README has a row for each variable."""

    port: int
    app_module: str
    preload_app: str
    run_dir: str
    workers: int
    workers_reason: str
    threads: int
    nginx_workers: int
    nginx_connections: int
    max_body_size: int
    trusted_proxies: list[str]
    rate_limit: int
    connections_per_ip: int
    cors_origins: list[str]
    log_level: str
    drain_seconds: int
    static_url: str
    static_path: str

    @classmethod
    def from_environment(cls, variables: Mapping[str, str], limits: Limits) -> Settings:
        """Raises SettingError for a value that cannot be used."""
        environment = Environment(variables)
        concurrency = environment.integer("WEB_CONCURRENCY", default=0, low=1, high=256)
        arguments = gunicorn_arguments(variables.get("GUNICORN_CMD_ARGS", ""))
        workers, reason = next(
            (number, reason)
            for number, reason in (
                (arguments.get("workers"), "GUNICORN_CMD_ARGS"),
                (concurrency, "WEB_CONCURRENCY"),
                (default_workers(limits), str(limits)),
            )
            if number
        )
        nginx_workers = environment.integer(
            "NGINX_WORKER_PROCESSES", default=min(4, math.ceil(limits.cpus)), low=1, high=64
        )
        return cls(
            port=environment.integer("PORT", "LISTEN_PORT", default=80, low=1, high=65535),
            app_module=environment.text(
                "APP_MODULE", default="app.wsgi:app", pattern=_MODULE, allowed="module:name or module:factory()"
            ),
            preload_app=environment.choice("PRELOAD_APP", "1", ("0", "1")),
            run_dir=environment.text(
                "RUN_DIR",
                default="/dev/shm/app",
                pattern=r"/[\w./-]{1,79}",
                allowed="an absolute path of at most 80 letters, digits and _ . / -",
            ),
            workers=workers,
            workers_reason=reason,
            threads=arguments.get("threads") or THREADS,
            nginx_workers=nginx_workers,
            nginx_connections=default_connections(limits, nginx_workers),
            max_body_size=environment.max_body_size(),
            trusted_proxies=environment.networks("TRUSTED_PROXIES"),
            rate_limit=environment.integer("RATE_LIMIT", default=0, low=0, high=1_000_000),
            connections_per_ip=environment.integer("CONNECTIONS_PER_IP", default=0, low=0, high=65_535),
            cors_origins=environment.cors_origins(),
            log_level=environment.choice("LOG_LEVEL", "info", LEVELS),
            drain_seconds=environment.integer("DRAIN_SECONDS", default=5, low=0, high=60),
            static_url=environment.text(
                "STATIC_URL", default="/static", pattern=r"/[\w./-]*[\w-]", allowed="a path such as /static"
            ),
            static_path=environment.text(
                "STATIC_PATH",
                pattern=r"/[\w./-]+",
                allowed="the absolute path of a directory, such as /app/static, of letters, digits and _ . / -",
            ),
        )

    @property
    def max_waiting(self) -> int:
        """How many requests, and as many health checks, an Nginx worker lets be in Gunicorn or wait for it.

        All of them fit in its queue.
        """
        return min(self.workers * self.threads * WAITING_PER_THREAD, socket_queue() // 2 // self.nginx_workers)


def gunicorn_arguments(text: str) -> dict[str, int]:
    """The workers and threads that GUNICORN_CMD_ARGS asks for. What is wrong with the rest, Gunicorn says itself.

    Raises SettingError for numbers with which Gunicorn never serves, and for --config, which it would not read.
    """
    if not text:
        return {}
    # 10 ms that a start without it does not take
    import argparse
    import shlex

    parser = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS, exit_on_error=False)
    parser.add_argument("-w", "--workers", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("-c", "--config")
    try:
        arguments = vars(parser.parse_known_args(shlex.split(text))[0])
    except (argparse.ArgumentError, ValueError):
        return {}
    if "config" in arguments or min(arguments.values(), default=1) < 1:
        raise SettingError(
            "GUNICORN_CMD_ARGS",
            text,
            "at least one worker and thread, and no --config: its settings go into gunicorn.conf.py",
        )
    return arguments


def default_workers(limits: Limits) -> int:
    """A worker a CPU and at least two, so that one that is stuck does not stop the service, as far as memory allows."""
    workers = min(max(2, math.ceil(limits.cpus)), (limits.memory - BASE_MEMORY) // WORKER_MEMORY)
    return max(1, min(workers, 32))


def default_connections(limits: Limits, nginx_workers: int) -> int:
    """Connections of one Nginx worker: as many as it may open files for, and as half of the memory holds."""
    in_memory = limits.memory // 2 // CONNECTION_MEMORY // nginx_workers
    # each may have one to Gunicorn or a file beside it
    return max(64, min(CONNECTIONS, open_files() // 2, in_memory))


def socket_queue() -> int:
    """How many connections may wait on Gunicorn's socket; one more is refused, which would be a 502."""
    try:
        return min(BACKLOG, int(Path("/proc/sys/net/core/somaxconn").read_text()))
    except (OSError, ValueError):
        return 128


def open_files() -> int:
    """How many files a process may open at most."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return CONNECTIONS * 4 if hard == resource.RLIM_INFINITY else hard
