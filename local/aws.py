"""The local AWS: DynamoDB and Cognito over HTTP, with all that the application needs made at start."""

from __future__ import annotations

import argparse
import io
import os
import signal
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

# the same ids at every start, so that compose.yaml can name them
os.environ["MOTO_COGNITO_IDP_USER_POOL_ID_STRATEGY"] = "HASH"
os.environ["MOTO_COGNITO_IDP_USER_POOL_CLIENT_ID_STRATEGY"] = "HASH"

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from . import ENVIRONMENT_PATH, PORT
from .resources import make_resources

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
Application = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m local.aws", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=PORT, help="0 takes a free one")
    parser.add_argument("--environment", metavar="FILE", help="write what the application needs here, once it is ready")
    options = parser.parse_args()
    # waited for below rather than handled: a handler that raises loses its way when the second of two signals comes
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)

    aws = LocalAws(_serialised(DomainDispatcherApplication(create_backend_app)))
    server = make_server(options.host, options.port, aws, threaded=True, request_handler=_Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    aws.environment = "".join(f"{name}={value}\n" for name, value in make_resources(url).items())
    if options.environment:
        with open(f"{options.environment}.new", "w") as file:
            file.write(aws.environment)
        os.replace(file.name, options.environment)
    print(f"the local AWS is ready at {url}", aws.environment, sep="\n", end="", flush=True)
    signal.sigwait(STOP_SIGNALS)


class LocalAws:
    """moto's application, and beside it ENVIRONMENT_PATH."""

    def __init__(self, moto: Application) -> None:
        self.moto = moto
        self.environment = ""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != ENVIRONMENT_PATH:
            return self.moto(environ, start_response)
        body = self.environment.encode()
        status = "200 OK" if body else "503 Service Unavailable"
        start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]


def _serialised(application: Application) -> Application:
    """The application for one request at a time: moto's conditional writes are not atomic."""
    lock = threading.Lock()

    def serialised(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # what comes over the network is read before the lock is taken
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        with lock:
            return list(application(environ, start_response))

    return serialised


class _Handler(WSGIRequestHandler):
    def log_request(self, *_: Any) -> None:
        pass


if __name__ == "__main__":
    main()
