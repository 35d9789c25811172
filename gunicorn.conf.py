"""Gunicorn's configuration. GUNICORN_CMD_ARGS wins over what stands here."""

import collections
import gc
import json
import logging
import os
import select
import signal
import sys
import threading
import time
import traceback
from datetime import UTC, datetime

from gunicorn.errors import HaltServer
from gunicorn.workers.gthread import ThreadWorker

run_dir = os.environ["RUN_DIR"]

wsgi_app = os.environ["APP_MODULE"]
bind = f"unix:{run_dir}/gunicorn.sock"
umask = 0o007
backlog = 2048

# WEB_CONCURRENCY sets the workers; entrypoint/settings.py has the number of threads as well
threads = 4
# load the application once and fork: less memory, and a worker that was killed is back at once
preload_app = os.environ.get("PRELOAD_APP", "1") != "0"

# longer than Nginx waits for an answer, so that Nginx is the one that gives up
timeout = 40
graceful_timeout = 30
# longer than Nginx keeps an idle connection to the upstream, so that Nginx is the one that closes
keepalive = 60
# at least what Nginx lets through
limit_request_line = 8190
limit_request_fields = 200
limit_request_field_size = 8190

# heartbeats, on /dev/shm: a disk may make them wait
worker_tmp_dir = run_dir
control_socket_disable = True
# Nginx has set the only headers that may speak for it
forwarder_headers = ""
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}

class Worker(ThreadWorker):
    """gthread, but a connection on which the next request follows at once keeps its thread.

    Gunicorn hands every request from its main thread to another and back, which costs a tenth of the CPU. Nginx keeps
    its connections busy, so the next request is mostly there already; when other requests wait for a thread, this
    one does not wait for it.
    """

    def handle(self, conn):
        while True:
            result = super().handle(conn)
            if result is not True or not self.alive or self.tpool._work_queue.qsize():
                return result
            poll = select.poll()
            poll.register(conn.sock, select.POLLIN)
            if not poll.poll(NEXT_REQUEST_MS) and not conn.parser.unreader.buf.getvalue():
                return result


NEXT_REQUEST_MS = 1
worker_class = Worker

_request = threading.local()


class JsonFormatter(logging.Formatter):
    """A log record as one JSON object, with the id of the request that its thread is busy with."""

    def format(self, record):
        line = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        request_id = getattr(_request, "id", None)
        if request_id:
            line["request_id"] = request_id
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


_level = os.environ.get("LOG_LEVEL", "info").upper()
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": JsonFormatter}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
    "root": {"level": _level, "handlers": ["stderr"]},
    "loggers": {"gunicorn.error": {"level": _level, "handlers": [], "propagate": True}},
}


def _log_uncaught(kind, error, trace):
    # Gunicorn's own way to end has no cause of its own to show
    cause = None if issubclass(kind, HaltServer) else (kind, error, trace)
    logging.getLogger("gunicorn").critical("%s: %s", kind.__name__, error, exc_info=cause)


sys.excepthook = _log_uncaught


def _with_request(application, started):
    """A WSGI application that knows the client's address, and whose requests are in the log and in `started`."""

    def wrapped(environ, start_response):
        # a unix socket has no address; Nginx has set this header whatever the client sent
        environ["REMOTE_ADDR"] = environ.get("HTTP_X_REAL_IP", "")
        _request.id = environ.get("HTTP_X_REQUEST_ID")
        started[threading.get_ident()] = time.monotonic()
        return application(environ, start_response)

    return wrapped


def post_request(worker, req, environ, resp):
    """The thread is busy with no request now."""
    _request.id = None
    worker.started.pop(threading.get_ident(), None)


def _end_if_stuck(worker):
    """Replace a worker with a request that nobody waits for any more: Gunicorn itself watches only its main thread."""
    while not worker.stuck.wait(1):
        now = time.monotonic()
        for thread, begin in list(worker.started.items()):
            if now - begin > worker.cfg.timeout:
                frame = sys._current_frames().get(thread)
                stack = "".join(traceback.format_stack(frame)) if frame else "unknown"
                worker.log.error(
                    "a request has run for more than %s s; this worker ends. %s", worker.cfg.timeout, stack
                )
                worker.stuck.set()
                os.kill(os.getpid(), signal.SIGTERM)
                threading.Event().wait(worker.cfg.graceful_timeout)
                os._exit(1)


# while the application is loaded nothing becomes garbage: a tenth of the time (see gc.freeze in Python's manual)
gc.disable()


def when_ready(server):
    """The socket is for the container's own user and group; what is loaded now is shared by all workers."""
    os.chmod(f"{run_dir}/gunicorn.sock", 0o660)
    gc.freeze()
    gc.enable()


def post_worker_init(worker):
    """This worker is ready: Nginx's start waits for the first process that has the FIFO open to write."""
    worker.started, worker.stuck = {}, threading.Event()
    worker.wsgi = _with_request(worker.wsgi, worker.started)
    threading.Thread(target=_end_if_stuck, args=(worker,), daemon=True, name="stuck requests").start()
    worker.ready = os.open(f"{run_dir}/ready", os.O_RDWR | os.O_NONBLOCK)


_exits = collections.deque()


def child_exit(server, worker):
    """End, and with that the container, when workers die as fast as they are started."""
    now = time.monotonic()
    _exits.append(now)
    while _exits[0] < now - 60:
        _exits.popleft()
    if len(_exits) >= 10 * server.num_workers:
        raise HaltServer(f"{len(_exits)} workers died within a minute", exit_status=1)
