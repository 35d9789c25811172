"""A small project of one's own with the container's files, for what the sample application does not do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.running import ROOT

APP = '''
import gc, os, signal, threading
from pathlib import Path
from flask import Flask, Response, request

app = Flask(__name__)

@app.get("/ping")
def ping():
    return "pong"

@app.route("/wait", methods=["GET", "PUT", "POST", "DELETE"])
def wait():
    """Say that the request is here, then answer after some seconds."""
    name = request.args.get("name")
    if name:
        with open(name, "a") as seen:
            seen.write(f"{request.method}\\n")
    threading.Event().wait(float(request.args.get("seconds", 0)))
    return "waited"

@app.get("/seen")
def seen():
    return {
        "address": request.remote_addr, "scheme": request.scheme, "host": request.host, "url": request.url,
        "headers": list(request.headers), "pid": os.getpid(), "root": request.root_url, "collects": gc.isenabled(),
        "server": [request.environ["SERVER_NAME"], request.environ["SERVER_PORT"]],
    }

@app.get("/die")
def die():
    os.kill(os.getpid(), signal.SIGKILL)

@app.get("/fail")
def fail():
    app.logger.warning("about to fail")
    raise RuntimeError("as asked")

@app.get("/big")
def big():
    return Response(b"x" * int(request.args["bytes"]))

@app.post("/echo")
def echo():
    return {"length": len(request.get_data())}
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with the container's files and hello.py; start it with APP_MODULE="hello:app"."""
    for name in ("nginx", "supervisord.conf", "gunicorn.conf.py"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    (tmp_path / "hello.py").write_text(APP)
    return tmp_path
