"""What stands in Gunicorn's place, or runs in it, and keeps what reaches it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.proxy.raw import exchange
from tests.running import ROOT, free_port, json_lines, wait_for

# appends what it sees to the file SEEN, and answers with the same
RECORDER = """
import json, os

seen = os.open(os.environ["SEEN"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def app(environ, start_response):
    if environ["PATH_INFO"] == "/ping":
        start_response("200 OK", [("Content-Length", "5")])
        return [b"pong\\n"]
    body = environ["wsgi.input"].read().decode("latin-1")
    line = {"method": environ["REQUEST_METHOD"], "target": environ["RAW_URI"], "body": body,
            "host": environ.get("HTTP_HOST")}
    data = json.dumps(line).encode() + b"\\n"
    os.write(seen, data)
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(data)))])
    return [data]
"""

# entrypoint's first steps, and then Nginx instead of supervisord
NGINX = """
import os, sys
from pathlib import Path
from entrypoint.__main__ import prepare_run_dir
from entrypoint.limits import read_limits
from entrypoint.nginx import prepare_nginx
from entrypoint.settings import Settings

settings = Settings.from_environment(os.environ, read_limits())
prepare_run_dir(settings)
prepare_nginx(settings, Path("nginx"))
program = f"{settings.run_dir}/nginx/nginx"
os.execv(program, ["nginx", "-e", "stderr", "-c", f"{settings.run_dir}/nginx/nginx.conf"])
"""


Behave = Callable[[socket.socket, bytes], bool]


class Recorder:
    """An upstream on a unix socket that answers each connection's one request, and keeps its exact bytes.

    `behave(connection, data)` may do something else with the request as soon as it has come as far as `far_enough`
    says; it returns whether to answer.
    """

    def __init__(self, path: Path, behave: Behave, far_enough: Callable[[bytes], bool]) -> None:
        self.requests: list[bytes] = []
        self.behave, self.far_enough = behave, far_enough
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        os.chmod(path, 0o666)
        self.listener.listen(1024)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            data = b""
            while not self.far_enough(data):
                chunk = connection.recv(65536)
                if not chunk:
                    return
                data += chunk
            self.requests.append(data)
            if self.behave(connection, data):
                body = json.dumps(seen(data)).encode()
                head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
                connection.sendall(head % len(body) + body)
                connection.shutdown(socket.SHUT_WR)
                # anything behind the request would be another one, smuggled
                if rest := connection.recv(65536):
                    self.requests.append(rest)

    def close(self) -> None:
        # closing alone would leave it to the thread that waits in accept()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def whole(data: bytes) -> bool:
    """Whether a request is complete; one that Nginx should never send is an error."""
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        return False
    assert b"\ntransfer-encoding:" not in head.lower(), head
    return len(body) >= length(head)


def length(head: bytes) -> int:
    lengths = [line.split(b":", 1)[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    assert len(lengths) <= 1, head
    return int(lengths[0]) if lengths else 0


def seen(data: bytes) -> dict[str, Any]:
    """The same as RECORDER's lines."""
    head, _, body = data.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    method, target, version = line.split(" ")
    assert version == "HTTP/1.1"
    hosts = [field.split(":", 1)[1].strip() for field in fields if field.lower().startswith("host:")]
    assert len(hosts) == 1, head
    return {"method": method, "target": target, "body": body.decode("latin-1"), "host": hosts[0]}


class NginxAlone:
    """Nginx with the rendered configuration, and a Recorder in Gunicorn's place; the image's Nginx if `image` is given."""

    def __init__(
        self,
        behave: Behave = lambda *_: True,
        far_enough: Callable[[bytes], bool] = whole,
        project: Path = ROOT,
        image: str = "",
        **environment: str,
    ) -> None:
        self.port = free_port()
        self.directory = tempfile.TemporaryDirectory(prefix="t-", dir="/dev/shm")
        directory = Path(self.directory.name)
        directory.chmod(0o777)
        self.stdout, self.stderr = directory / "stdout", directory / "stderr"
        self.recorder = Recorder(directory / "gunicorn.sock", behave, far_enough)
        # what the run-time directory of the container has beside the socket is made anew
        variables = {"PORT": str(self.port), "RUN_DIR": str(directory)} | environment
        if image:
            options = [word for name, value in variables.items() for word in ("-e", f"{name}={value}")]
            options += ["--network", "host", "-v", f"{directory}:{directory}"]
            command = ["docker", "run", "--rm", "--name", directory.name, *options, "--entrypoint", "python", image]
        else:
            variables |= {"PATH": f"{os.environ['PATH']}:/usr/sbin", "PYTHONPATH": str(ROOT)}
            command = [sys.executable]
        self.name = directory.name if image else ""
        with self.stdout.open("wb") as stdout, self.stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*command, "-c", NGINX],
                cwd=project,
                env=os.environ | variables if image else variables,
                stdout=stdout,
                stderr=stderr,
            )
        # nginx -t listens for a moment as well
        wait_for(lambda: self.answers() or self.process.poll() is not None, 30, "Nginx answers")
        assert self.process.poll() is None, self.stderr.read_text()

    def answers(self) -> bool:
        try:
            return exchange(self.port, b"not a request\r\n\r\n") != b""
        except OSError:
            return False

    def access_lines(self) -> list[dict[str, Any]]:
        text = self.stdout.read_text()
        # a line that is being written is none yet
        return json_lines(text[: text.rfind("\n") + 1])

    def remove(self) -> None:
        if self.name:
            subprocess.run(["docker", "rm", "-f", self.name], capture_output=True, timeout=60)
        else:
            self.process.terminate()
        self.process.wait(30)
        with contextlib.suppress(OSError):
            self.recorder.close()
        self.directory.cleanup()


@contextlib.contextmanager
def nginx_alone(*arguments: Any, **options: Any) -> Iterator[NginxAlone]:
    running = NginxAlone(*arguments, **options)
    try:
        yield running
    finally:
        running.remove()
