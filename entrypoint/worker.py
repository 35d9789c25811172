"""Gunicorn's gthread worker, with threads that accept connections themselves."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from queue import SimpleQueue

from gunicorn import util
from gunicorn.http import get_parser
from gunicorn.http.errors import ParseException
from gunicorn.workers.gthread import TConn, ThreadWorker

from .turns import Turns


class Connection(socket.socket):
    """Blocks from the start. Gunicorn says so four times a request, and each system call gives way to other threads."""

    def setblocking(self, flag: bool) -> None:
        pass

    def settimeout(self, value: float | None) -> None:
        if value != self.gettimeout():
            super().settimeout(value)


class Worker(ThreadWorker):
    """Each thread takes a connection from the socket when it is free, answers one request, and closes it.

    All workers have one queue then, the kernel's, and the oldest request goes to the next free thread. gthread itself
    accepts more than it has threads for, and Nginx sends requests on the connections it has kept: one process has a
    queue while the other is idle (bench/neighbours.py). Handing each connection from a main thread to another and back
    costs as much CPU as a new connection to a unix socket.
    """

    alive: bool
    # the process's own copy of the queue in which Gunicorn's master puts signals
    unheard: SimpleQueue[int]

    def init_signals(self) -> None:
        """Until now this process handled signals as the master does, and a stop had no effect on it."""
        super().init_signals()
        while not self.unheard.empty():
            if self.unheard.get() == signal.SIGTERM:
                self.alive = False

    def run(self) -> None:
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

    def serve(self, listener: socket.socket) -> None:
        # Gunicorn makes SERVER_NAME and SERVER_PORT of it: those of the request, since a path has no colon
        turns, server = Turns(), listener.getsockname()
        while self.alive:
            try:
                # what accept() calls, which then makes a plain socket of it
                descriptor, _ = listener._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                continue
            except OSError:
                self.log.exception("no connection could be accepted")
                time.sleep(0.5)
                continue
            connection = Connection(socket.AF_UNIX, socket.SOCK_STREAM, 0, descriptor)
            conn = TConn(self.cfg, connection, "", server)
            # there is nothing to negotiate, and Nginx connects when it has something to send
            conn.initialized, conn.parser = True, get_parser(self.cfg, connection, "")
            try:
                self.handle(conn)
            except BaseException as error:
                # sys.exit() in the application ends a request, not this thread
                self.handle_error(None, connection, None, error)
            self.end(conn)
            turns.request_ended()

    def end(self, conn: TConn) -> None:
        """Close the connection; with something unread in it, Nginx might not get to read the answer."""
        try:
            message = conn.parser.mesg
            # there was no body, or all of it has been read
            read = message and (getattr(message.body.reader, "length", None) == 0 or conn.parser.finish_body())
        except (OSError, ParseException):
            read = False
        if read:
            conn.close()
        else:
            util.close_graceful(conn.sock, timeout=10, max_drain=sys.maxsize)
