"""Gunicorn's configuration. GUNICORN_CMD_ARGS wins over what stands here."""

import collections
import gc
import json
import logging
import mmap
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from datetime import UTC, datetime

import gunicorn
from gunicorn import util
from gunicorn.errors import HaltServer
from gunicorn.http import wsgi
from gunicorn.http.errors import ParseException
from gunicorn.workers.gthread import TConn, ThreadWorker

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
# a connection carries one request: see Worker
keepalive = 0
# at least what Nginx lets through
limit_request_line = 8190
limit_request_fields = 200
# Nginx's limit is for what came in; it writes a blank behind the colon
limit_request_field_size = 2 * 8192

# heartbeats, on /dev/shm: a disk may make them wait
worker_tmp_dir = run_dir
control_socket_disable = True
# Nginx has set the only headers that may speak for it
forwarder_headers = ""
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}


class Worker(ThreadWorker):
    """gthread, but each thread takes a connection from the socket when it is free, answers one request, and closes it.

    All workers have one queue then, the kernel's, and the oldest request goes to the next free thread. gthread itself
    accepts more than it has threads for, and Nginx sends requests on the connections it has kept: one process has a
    queue while the other is idle (measured: half of the throughput). Handing each connection from a main thread to
    another and back costs as much CPU as a new connection to a unix socket.
    """

    def run(self):
        listener = self.sockets[0]
        listener.setblocking(True)
        # accept() returns now and then, to see whether to stop
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 500_000))
        threads = [threading.Thread(target=self.serve, args=(listener,), daemon=True) for _ in range(self.cfg.threads)]
        for thread in threads:
            thread.start()
        signalled = self.PIPE[0]
        while self.alive and self.is_parent_alive():
            self.notify()
            if select.select([signalled], [], [], 1)[0]:
                os.read(signalled, 4096)
        self.alive = False
        deadline = time.monotonic() + self.cfg.graceful_timeout
        for thread in threads:
            while thread.is_alive() and time.monotonic() < deadline:
                self.notify()
                thread.join(1)

    def serve(self, listener):
        while self.alive:
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                continue
            except OSError:
                self.log.exception("no connection could be accepted")
                time.sleep(0.5)
                continue
            conn = TConn(self.cfg, connection, "", self.cfg.bind[0])
            # Nginx connects when it has something to send
            conn.data_ready = True
            try:
                self.handle(conn)
            except BaseException as error:
                # sys.exit() in the application ends a request, not this thread
                self.handle_error(None, connection, None, error)
            self.end(conn)

    def end(self, conn):
        """Close the connection; with something unread in it, Nginx might not get to read the answer."""
        try:
            read = conn.parser is not None and conn.parser.mesg is not None and conn.parser.finish_body()
        except (OSError, ParseException):
            read = False
        if read:
            conn.close()
        else:
            util.close_graceful(conn.sock, timeout=10, max_drain=sys.maxsize)


# made of parts that Gunicorn has since 26; an application that pins an older one gets that one's own threads
worker_class = Worker if gunicorn.version_info >= (26,) else "gthread"


class Response(wsgi.Response):
    """Writes the headers and the body's first piece at once.

    A worker that is killed between the two leaves Nginx with an answer that has begun: its client gets half of it
    instead of a 502. It is also one thing less to do for both.
    """

    held = b""

    def send_headers(self):
        if not self.headers_sent:
            lines = [*self.default_headers(), *(f"{name}: {value}\r\n" for name, value in self.headers), "\r\n"]
            self.held = util.to_bytestring("".join(lines), "latin-1")
            self.headers_sent = True

    def release(self):
        held, self.held = self.held, b""
        if held:
            util.write(self.sock, held)

    def _emit_body(self, data):
        if self.chunked:
            self.release()
        held, self.held = self.held, b""
        util.write(self.sock, held + data, self.chunked)

    def sendfile(self, respiter):
        if util.has_fileno(respiter.filelike):
            self.send_headers()
            self.release()
        return super().sendfile(respiter)

    def close(self):
        self.send_headers()
        self.release()
        super().close()


# not where an application pins a Gunicorn that writes in other ways
if hasattr(wsgi.Response, "_emit_body"):
    wsgi.Response = Response

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


class _Queue:
    """Tells which requests have waited too long for a thread to be begun.

    Without a limit, a queue of slow requests is worked through for clients of whom most have given up, and nobody gets
    an answer in time. Where more arrives than can be done, a longer queue serves no more requests, only later ones.
    """

    LEAST, MOST = 1, 5  # seconds

    def __init__(self):
        self.usual = 1.0

    def took(self, seconds):
        self.usual += (seconds - self.usual) / 4

    def too_late(self, environ):
        # a container that is busy is not ill
        if environ["PATH_INFO"] == "/ping":
            return False
        try:
            waited = time.time() - float(environ["HTTP_X_REQUEST_START"].removeprefix("t="))
        except (KeyError, ValueError):
            return False
        return waited > self.LEAST and waited > min(2 * self.usual, self.MOST)


def _with_request(application, started, queue):
    """A WSGI application that knows the client's address, and whose requests are in the log and in `started`."""

    def wrapped(environ, start_response):
        # a unix socket has no address; Nginx has set this header whatever the client sent
        environ["REMOTE_ADDR"] = environ.get("HTTP_X_REAL_IP", "")
        _request.id = environ.get("HTTP_X_REQUEST_ID")
        if queue.too_late(environ):
            start_response("503 Service Unavailable", [("X-Accel-Redirect", "/__gunicorn/503")])
            return []
        started[threading.get_ident()] = time.monotonic()
        return application(environ, start_response)

    return wrapped


def _answer_by_nginx(connection, status, reason, message):
    """Answer a request that Gunicorn cannot read, or whose application failed: the document is made where all are."""
    _request.id = None
    status = status if status in (400, 431, 500) else 400
    head = f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nX-Accel-Redirect: /__gunicorn/{status}\r\n"
    util.write_nonblock(connection, f"{head}Content-Length: 0\r\n\r\n".encode())


util.write_error = _answer_by_nginx


def post_request(worker, req, environ, resp):
    """The thread is busy with no request now, unless it still has to log that the application failed."""
    if sys.exc_info()[0] is None:
        _request.id = None
    begun = worker.started.pop(threading.get_ident(), None)
    if begun:
        worker.queue.took(time.monotonic() - begun)


def _end_if_stuck(worker):
    """Replace a worker with a request that nobody waits for any more: Gunicorn itself watches only its main thread."""
    while not worker.stuck.wait(1) and worker.cfg.timeout:
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
    worker.started, worker.stuck, worker.queue = {}, threading.Event(), _Queue()
    worker.wsgi = _with_request(worker.wsgi, worker.started, worker.queue)
    threading.Thread(target=_end_if_stuck, args=(worker,), daemon=True, name="stuck requests").start()
    worker.fate[:] = b"r"
    worker.ready = os.open(f"{run_dir}/ready", os.O_RDWR | os.O_NONBLOCK)


def pre_fork(server, worker):
    """What becomes of the worker, in memory that both processes see: b"r", it was ready; b"e", it ended by itself."""
    worker.begun, worker.fate = time.monotonic(), mmap.mmap(-1, 1)


def worker_exit(server, worker):
    """Called while the worker's sys.exit(0) is on its way, after max_requests for example; or any other exception."""
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
