"""Gunicorn's configuration. GUNICORN_CMD_ARGS wins over what stands here, but for bind."""

import collections
import gc
import mmap
import os
import sys
import time

import gunicorn
from gunicorn.errors import HaltServer
from gunicorn.http import wsgi

from entrypoint import answers, application, request_logs, settings
from entrypoint.in_progress import InProgress

run_dir = os.environ["RUN_DIR"]

wsgi_app = os.environ["APP_MODULE"]
bind = f"unix:{run_dir}/gunicorn.sock"
umask = 0o007
backlog = settings.BACKLOG

# WEB_CONCURRENCY sets the workers
threads = settings.THREADS
# it needs what Gunicorn has had since 26; an application that pins an older one gets that one's own threads
worker_class = "entrypoint.worker.Worker" if gunicorn.version_info >= (26,) else "gthread"
# load the application once and fork: less memory, and a worker that was killed is back at once
preload_app = os.environ.get("PRELOAD_APP", "1") != "0"

# longer than Nginx waits for an answer, so that Nginx is the one that gives up
timeout = 40
graceful_timeout = 30
# a connection carries one request: see entrypoint/worker.py
keepalive = 0
# at least what Nginx lets through
limit_request_line = 8190
limit_request_fields = 200
# Nginx counts the field as it came in, and passes it on with a space after the colon
limit_request_field_size = 2 * 8192

# for heartbeats; on a disk they might have to wait
worker_tmp_dir = run_dir
control_socket_disable = True
# of the headers that speak for the client, only those that Nginx has set are believed
forwarder_headers = ""
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}

logger_class = request_logs.NoAccessLines
logconfig_dict = request_logs.configuration(os.environ.get("LOG_LEVEL", "info").upper())
sys.excepthook = request_logs.log_uncaught
answers.install()
application.install()

# while the application is loaded nothing becomes garbage: a tenth of the time (see gc.freeze in Python's manual)
gc.disable()


def on_starting(server):
    """Refuse what cannot take effect: another bind, by which Nginx's port is meant, and words that are no options."""
    if server.cfg.bind != [f"unix:{run_dir}/gunicorn.sock"]:
        sys.exit(
            f"bind={','.join(server.cfg.bind)!r} cannot be used: Nginx needs Gunicorn's socket. Leave bind out, in "
            "GUNICORN_CMD_ARGS and in gunicorn.conf.py, and set PORT for Nginx's port"
        )
    if ignored := server.cfg.parser().parse_args(server.cfg.get_cmd_args_from_env()).args:
        sys.exit(
            f"GUNICORN_CMD_ARGS={os.environ['GUNICORN_CMD_ARGS']!r} cannot be used: Gunicorn would ignore {ignored}. "
            "Are there quotes around all of it? docker's --env-file keeps them"
        )


def when_ready(server):
    """The socket is for the container's own user and group; what is loaded now is shared by all workers."""
    os.chmod(f"{run_dir}/gunicorn.sock", 0o660)
    if begun := application.begun():
        server.log.warning(
            "while the application was imported, once for all workers, it %s. If requests need them, set "
            "PRELOAD_APP=0: then every worker has its own",
            begun,
        )
    gc.freeze()
    gc.enable()


def on_reload(server):
    """After SIGHUP: this file has been run again, and has switched the collector off."""
    gc.freeze()
    gc.enable()


def pre_fork(server, worker):
    """What becomes of the worker is noted where both processes see it: b"r", it was ready; b"e", it ended by itself."""
    worker.begun, worker.fate = time.monotonic(), mmap.mmap(-1, 1)
    worker.unheard = server.SIG_QUEUE


def post_worker_init(worker):
    """This worker is ready: Nginx's start waits for the first process that has the FIFO open to write."""
    # Gunicorn looks each setting up by a function of its own, thirty times a request
    vars(worker.cfg).update({name: setting.get() for name, setting in worker.cfg.settings.items()})
    # and makes again for each request what is the same for all
    environ = wsgi.base_environ(worker.cfg)
    wsgi.base_environ = lambda cfg: environ.copy()
    worker.in_progress = InProgress(worker)
    worker.fate[:] = b"r"
    worker.ready = os.open(f"{run_dir}/ready", os.O_RDWR | os.O_NONBLOCK)


def post_request(worker, req, environ, resp):
    worker.in_progress.end()


def worker_exit(server, worker):
    """Called while the worker ends by sys.exit(0), after max_requests for example, or by any other exception."""
    if getattr(sys.exc_info()[1], "code", None) == 0:
        worker.fate[:] = b"e"


YOUNG_SECONDS = 2
_deaths = collections.deque()


def child_exit(server, worker):
    """End, and with that the container, when workers die as fast as they are started."""
    now = time.monotonic()
    if worker.fate[:] == b"e" or (worker.fate[:] == b"r" and now - worker.begun > YOUNG_SECONDS):
        return
    _deaths.append(now)
    while _deaths[0] < now - 60:
        _deaths.popleft()
    if len(_deaths) >= 10 * server.num_workers:
        reason = f"{len(_deaths)} workers died within a minute, none of them older than {YOUNG_SECONDS} s"
        raise HaltServer(reason, exit_status=1)
