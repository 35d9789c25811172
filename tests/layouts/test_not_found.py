"""An application that is not there, cannot be imported, or is none: the last line says what was looked for, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.layouts.project import make_project
from tests.running import START_SECONDS, Stack, stack, wait_for

LOOKED = "was looked for in {directory}, which has app.py, broken.py, incomplete.py, requirements.txt, and among the"
LOADED = "was loaded from {directory}"
CANNOT_LOAD = {
    "app.wsgi:app": ("No module named 'app.wsgi'; 'app' is not a package", LOOKED),
    "shop:app": ("No module named 'shop'", LOOKED),
    "app:application": ("Failed to find attribute 'application' in 'app'", LOOKED),
    "app:create_app()": ("Failed to find attribute 'create_app' in 'app'", LOOKED),
    "incomplete:app": (
        "No module named 'not_installed' ({directory}/incomplete.py, line 2)",
        "needs it; it was looked for in {directory} and among the installed packages: is it in requirements.txt",
    ),
    "broken:app": ("ZeroDivisionError: division by zero ({directory}/broken.py, line 4)", LOADED),
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    project = make_project("app_py", tmp_path)
    (project / "incomplete.py").write_text("import json\nimport not_installed\n")
    (project / "broken.py").write_text("def fail():\n    from decimal import Decimal\n\n    1 / 0\n\n\nfail()\n")
    return project


def last_line(project: Path, module: str, preload: str) -> str:
    """What the container ends with."""
    running = Stack(project, APP_MODULE=module, PRELOAD_APP=preload)
    try:
        assert running.process.wait(START_SECONDS) == 1
        last = running.log()[-1]
    finally:
        running.remove()
    assert (last["level"], last["logger"]) == ("critical", "entrypoint")
    return str(last["message"])


@pytest.mark.parametrize("preload", ["1", "0"])
@pytest.mark.parametrize("module", CANNOT_LOAD)
def test_the_last_line_says_what_was_looked_for_and_where(project: Path, module: str, preload: str) -> None:
    last = last_line(project, module, preload)
    assert f"APP_MODULE={module} " in last
    assert "/entrypoint/" not in last
    for part in CANNOT_LOAD[module]:
        assert part.format(directory=project) in last


OWN_LOGGING = """
import logging.config
import os

from flask import Flask

# as in Flask's manual, but into a file: it switches off the loggers that are there
logging.config.dictConfig(
    {
        "version": 1,
        "handlers": {"file": {"class": "logging.FileHandler", "filename": os.environ["RUN_DIR"] + "/app.log"}},
        "root": {"level": "INFO", "handlers": ["file"]},
    }
)
app = Flask(__name__)
app.get("/ping")(lambda: "pong")
"""
# where Flask, which would log it, is not yet
FAILS = """
inner = app.wsgi_app
app.wsgi_app = lambda environ, start_response: inner(environ, start_response) if environ["PATH_INFO"] == "/ping" else 1 / 0
"""


@pytest.mark.parametrize("preload", ["1", "0"])
def test_an_application_that_logs_in_its_own_way_hides_no_cause(project: Path, preload: str) -> None:
    (project / "own.py").write_text(OWN_LOGGING + "1 / 0")
    assert f"ZeroDivisionError: division by zero ({project}/own.py, line 17)" in last_line(project, "own:app", preload)


@pytest.mark.parametrize("preload", ["1", "0"])
def test_an_application_that_logs_in_its_own_way_hides_no_failed_request(project: Path, preload: str) -> None:
    (project / "own.py").write_text(OWN_LOGGING + FAILS)
    with stack(project, APP_MODULE="own:app", PRELOAD_APP=preload) as running:
        failed = running.get("/")
        assert failed.status == 500
        [line] = wait_for(lambda: [line for line in running.log() if "exception" in line])
        assert line["request_id"] == failed.headers["X-Request-Id"]
        assert "ZeroDivisionError" in line["exception"]


NO_APPLICATION = {
    "shop:create_app": "is a function that makes an application: did you mean APP_MODULE=shop:create_app()?",
    "shop:asgi": "takes (scope, receive, send), and a WSGI application takes (environ, start_response)",
}


@pytest.mark.parametrize("preload", ["1", "0"])
def test_an_application_whose_threads_are_none_ends_the_container_at_once(project: Path, preload: str) -> None:
    """Each request that waits for something would take ten seconds and more."""
    patched = "from gevent import monkey\n\nmonkey.patch_all()\n" + (project / "app.py").read_text()
    (project / "patched.py").write_text(patched)
    last = last_line(project, "patched:app", preload)
    assert "APP_MODULE=patched:app replaces Python's threads, which the workers are made of" in last


@pytest.mark.parametrize("preload", ["1", "0"])
@pytest.mark.parametrize("module", NO_APPLICATION)
def test_what_is_no_application_ends_the_container_at_once(tmp_path: Path, module: str, preload: str) -> None:
    """It can be called, so that Gunicorn takes it, and every request would be a 500."""
    project = make_project("package", tmp_path)
    with (project / "shop" / "__init__.py").open("a") as file:
        file.write("\n\nasync def asgi(scope, receive, send): ...\n")
    assert last_line(project, module, preload).endswith(f" cannot go on: APP_MODULE={module} {NO_APPLICATION[module]}")
