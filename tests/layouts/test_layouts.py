"""Each layout gets the whole container: built as an image, run and called."""

from __future__ import annotations

import ipaddress
import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.api import Answer
from tests.layouts.project import PROJECTS, ProjectContainer, running
from tests.running import ROOT, docker, wait_for

pytestmark = pytest.mark.docker

LAYOUTS = {
    "app_py": ({"APP_MODULE": "app:app"}, "app.py"),
    "wsgi_py": ({"APP_MODULE": "wsgi:application"}, "wsgi.py"),
    "package": ({"APP_MODULE": "shop:create_app()"}, "package"),
    "src_layout": ({"APP_MODULE": "shop:create_app()"}, "src"),
    "flat_layout": ({"APP_MODULE": "shop:create_app()"}, "flat 1.0"),
    "application": ({"APP_MODULE": "app:app"}, "application"),
    "own_pins": ({"APP_MODULE": "main:app"}, "flask=2.3.3 werkzeug=2.3.8 gunicorn=23.0.0"),
    "legacy": ({"APP_MODULE": "shop:app", "WRITABLE_DIRECTORIES": "instance /data"}, "legacy at http://127.0.0.1:"),
    "html": ({"APP_MODULE": "web:app"}, "<h1>html"),
    "migrations": (
        {"APP_MODULE": "archive:app", "APT_PACKAGES": "libmagic1t64 util-linux", "APT_BUILD_PACKAGES": "patch"},
        "0 files",
    ),
}

# by the layout "migrations", in its prestart.sh
PRINTED = "the database is ready"
Build = Callable[[str], str]


class Project(ProjectContainer):
    def output(self) -> str:
        """Without the line that prestart.sh prints for people; every other line is JSON."""
        return super().output().replace(f"{PRINTED}\n", "")


@pytest.fixture
def built(build: Callable[..., str]) -> Build:
    """`built(layout)`: its image, built with the arguments that are documented."""
    return lambda layout: build(layout, **LAYOUTS[layout][0])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_project_of_this_layout_gets_the_whole_container(built: Build, layout: str) -> None:
    with running(Project(image=built(layout))) as project:
        answer = project.get("/", **{"User-Agent": layout})
        assert answer.status == 200
        text = answer.body.decode()
        assert LAYOUTS[layout][1] in text
        # Flask knows the client, not the unix socket
        assert ipaddress.ip_address(text.partition(" to ")[2].split("<")[0].strip())
        assert_is_in_the_log(project, answer, agent=layout)
        assert_refuses_large_bodies(project)
        assert project.exec("id", "-u") == "10001"
        assert project.exec("python", "-I", "-m", "entrypoint.healthcheck") == "healthy"
        assert not [line for line in project.log() if line.get("path") == "/ping" and line["status"] == 404]
        begin = time.monotonic()
        assert project.stop() == 0
        assert time.monotonic() - begin < 10


def assert_is_in_the_log(project: Project, answer: Answer, agent: str) -> None:
    """As a line of JSON with the request's id; log() reads every line of the container as JSON."""
    line = wait_for(lambda: [line for line in project.log() if line.get("user_agent") == agent])[0]
    assert (line["logger"], line["path"], line["status"]) == ("access", "/", 200)
    assert line["request_id"] == answer.headers["X-Request-Id"]


def assert_refuses_large_bodies(project: Project) -> None:
    refused = project.api("POST", "/", body=b"x" * (1024**2 + 1))
    assert (refused.status, refused.headers["Content-Type"]) == (413, "application/problem+json")


def test_nginx_serves_the_static_files_when_it_is_told_where(built: Build) -> None:
    with running(Project(image=built("html"), STATIC_PATH="/app/static")) as project:
        answer = project.get("/static/style.css")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/css")
        line = wait_for(lambda: [line for line in project.log() if line.get("path") == "/static/style.css"])[0]
        assert line["upstream_time"] is None, "Gunicorn was asked"


def test_a_session_holds_across_workers_and_restarts(built: Build) -> None:
    """With SECRET_KEY from the environment, as docs/existing-project.md says."""
    image = built("html")
    with running(Project(image=image, SECRET_KEY="same", WEB_CONCURRENCY="3")) as project:
        answer = requests.post(f"{project.base}/login", {"name": "Alice"}, allow_redirects=False, timeout=10)
        assert (answer.status_code, answer.headers["Location"]) == (302, "/")
        cookie = answer.headers["Set-Cookie"].split(";")[0]
    with running(Project(image=image, SECRET_KEY="same", WEB_CONCURRENCY="3")) as project:
        pages = [project.get("/", Cookie=cookie).body.decode() for _ in range(12)]
    assert all("Hello, Alice." in page for page in pages)


def test_the_system_package_is_there_and_the_migration_has_run(built: Build) -> None:
    with running(Project(image=built("migrations"))) as project:
        assert project.api("POST", "/", body=b"%PDF-1.7").body == b"application/pdf"
        assert project.get("/").body.startswith(b"1 files")
        assert PRINTED in docker("logs", project.id)


def test_a_wrong_app_module_ends_the_container_and_says_where_it_looked(built: Build) -> None:
    project = Project(image=built("app_py"), APP_MODULE="app.wsgi:app")
    try:
        assert project.wait_exit() == 1
        last = project.log()[-1]["message"]
    finally:
        project.remove()
    assert "No module named 'app.wsgi'; 'app' is not a package" in last
    assert "APP_MODULE=app.wsgi:app was looked for in /app, which has app.py, requirements.txt, and among" in last


def test_an_old_gunicorn_ends_the_build_and_says_what_is_needed(build: Callable[..., str]) -> None:
    needed = re.search(r"[\d.]+ or newer", (ROOT / "docs/existing-project.md").read_text())
    assert needed
    with pytest.raises(AssertionError, match=rf"Gunicorn 20\.1\.0 is too old, {needed[0]} is needed: raise or remove"):
        build("old_gunicorn")


def test_a_file_that_python_cannot_read_does_not_end_the_build(build: Callable[..., str]) -> None:
    """The application may have templates or old programs beside it that nobody imports."""
    image = build("app_py", files={"scripts/old.py": 'print "old"\n'})
    assert "app.py to" in page(image, "app:app")


REQUIREMENTS = {
    "constraints": {"requirements.txt": "-c constraints.txt\nflask\n", "constraints.txt": "flask==3.1.1\n"},
    "pins": {"requirements.txt": "-c pins.txt\nflask\n", "pins.txt": "flask==3.1.1\n"},
    "folder": {"requirements.txt": "-r deps/base.txt\n", "deps/base.txt": "flask==3.1.1\n"},
    "path": {
        "requirements.txt": "flask==3.1.1\nlibs/prices\n",
        "libs/prices/pyproject.toml": '[project]\nname = "prices"\nversion = "1"\n',
        "libs/prices/prices.py": "",
        "app.py": "import prices\n" + (PROJECTS / "app_py" / "app.py").read_text(),
    },
}


@pytest.mark.parametrize("kind", REQUIREMENTS)
def test_requirements_may_name_other_files_of_the_project(build: Callable[..., str], kind: str) -> None:
    image = build("app_py", files=REQUIREMENTS[kind])
    assert "app.py to" in page(image, "app:app")
    assert docker("run", "--rm", image, "flask", "--version").splitlines()[1] == "Flask 3.1.1"


@pytest.mark.parametrize(
    ("line", "waits"),
    [
        ("flask==3.1.1", False),
        ("flask  # see https://example.com/a/b", False),
        ("--index-url https://example.com/simple", False),
        ("shop @ git+https://example.com/shop.git", False),
        ("-r requirements/prod.txt", False),
        ("-r requirements-prod.txt", False),
        ("--constraint=constraints.txt", False),
        ("-e .", True),
        ("--editable=.", True),
        (".", True),
        ("./libs/prices", True),
        ("libs/prices", True),
        ("wheels/shop-1-py3-none-any.whl", True),
        ("shop @ file:///app/libs/shop", True),
        ("-f wheels", True),
        ("--find-links wheels", True),
        ("-r deps.txt", True),
        ("--requirement=deps/base.txt", True),
        ("-c pins.txt", True),
        ("--constraint pins.txt", True),
    ],
)
def test_requirements_that_name_the_project_wait_for_it(tmp_path: Path, line: str, waits: bool) -> None:
    """All others are a layer that stays as long as they do."""
    pattern = re.search(r"! grep -qP (.*?) requirements\.txt;", (ROOT / "Dockerfile").read_text(), re.S)
    (tmp_path / "requirements.txt").write_text(f"{line}\n")
    done = subprocess.run(["bash", "-c", f"grep -qP {pattern[1]} requirements.txt"], cwd=tmp_path)
    assert done.returncode == (0 if waits else 1)


def test_what_the_requirements_install_as_editable_stays_so(build: Callable[..., str]) -> None:
    """The templates are where they were, also those that the package would leave out."""
    text = (PROJECTS / "src_layout" / "pyproject.toml").read_text().partition("[tool.setuptools.package-data]")[0]
    image = build("src_layout", files={"pyproject.toml": text, "requirements.txt": "-e .\n"})
    assert "src to" in page(image, "shop:create_app()")


POETRY = """
[tool.poetry]
package-mode = false

[build-system]
requires = ["poetry-core"]
build-backend = "poetry.core.masonry.api"
"""
NO_PACKAGES = {
    "poetry": {"pyproject.toml": f'[project]\nname = "my-shop"\nversion = "1"\ndependencies = ["flask"]\n{POETRY}'},
    "uv": {
        "pyproject.toml": '[project]\nname = "my-shop"\nversion = "1"\ndependencies = ["flask"]\n[tool.uv]\npackage = false\n'
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
    },
    "poetry 1": {"pyproject.toml": POETRY, "requirements.txt": "flask\n"},
}


@pytest.mark.parametrize("kind", NO_PACKAGES)
def test_what_says_that_it_is_no_package_is_not_installed(build: Callable[..., str], kind: str) -> None:
    image = build("app_py", files={"requirements.txt": "", **NO_PACKAGES[kind]})
    assert "app.py to" in page(image, "app:app")


def test_any_user_of_the_group_writes_where_the_application_may(built: Build) -> None:
    image = built("legacy")
    docker("run", "--rm", "--user=12345:0", image, "touch", "/app/instance/x", "/data/x")
    assert docker("run", "--rm", "--user=12345:0", image, "sh", "-c", "touch /app/x 2>&1; true").endswith("denied")


def test_labels_say_what_the_image_was_made_from(build: Callable[..., str]) -> None:
    said = {"version": "1.2", "revision": "9f2c0d6", "source": "https://example.com/shop"}
    image = build("app_py", **{name.upper(): value for name, value in said.items()})
    labels = json.loads(docker("inspect", "-f", "{{json .Config.Labels}}", image))
    assert labels == {f"org.opencontainers.image.{name}": value for name, value in said.items()}


def page(image: str, module: str) -> str:
    """What the application of the image answers at /, without a server."""
    name, _, application = module.partition(":")
    program = f"import {name}; print({name}.{application}.test_client().get('/').text)"
    return docker("run", "--rm", image, "python", "-c", program)
