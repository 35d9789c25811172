"""Static files by Nginx (STATIC_PATH), and what it adds to an application's own answers."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.layouts.project import ProjectStack, make_project, running
from tests.running import Stack

COMPRESSED = ["large.css", "large.js", "large.mjs", "large.json", "large.webmanifest", "large.svg"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectStack]:
    project = make_project("html", tmp_path_factory.mktemp("site"))
    (project / "static-not.txt").write_text("secret")
    for name in COMPRESSED:
        (project / "static" / name).write_text("text\n" * 1000)
    (project / "static" / "site.webmanifest").write_text("{}")
    (project / "static" / "data").write_text("<h1>no page</h1>")
    (project / "static" / 'a "b".txt').write_text("c")
    with running(ProjectStack(project, APP_MODULE="web:app", STATIC_PATH=f"{project}/static/")) as site:
        yield site


TYPES = {
    "style.css": "text/css",
    "module.mjs": "text/javascript",
    "large.js": "application/javascript; charset=utf-8",
    "drawing.svg": "image/svg+xml",
    "site.webmanifest": "application/manifest+json",
    "data": "application/octet-stream",
}


@pytest.mark.parametrize("name", TYPES)
def test_a_browser_can_use_the_file(site: ProjectStack, name: str) -> None:
    answer = site.get(f"/static/{name}")
    assert (answer.status, answer.headers["Content-Type"]) == (200, TYPES[name])
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert len(answer.headers["X-Request-Id"]) == 32
    # JSON is never a page
    assert ("Content-Security-Policy" in answer.headers) == TYPES[name].endswith("json")


def test_browsers_ask_every_time_whether_a_file_still_holds(site: ProjectStack) -> None:
    answer = site.get("/static/style.css")
    assert answer.headers["Cache-Control"] == "no-cache"
    assert site.get("/static/style.css", **{"If-None-Match": answer.headers["ETag"]}).status == 304


@pytest.mark.parametrize("name", COMPRESSED)
def test_text_is_compressed_for_clients_that_ask(site: ProjectStack, name: str) -> None:
    """A CDN in front says so in Via."""
    headers = {"Accept-Encoding": "gzip", "Via": "1.1 cdn"}
    answer = requests.get(f"{site.base}/static/{name}", headers=headers, stream=True, timeout=10)
    body = answer.raw.read(decode_content=False)
    assert (answer.headers["Content-Encoding"], answer.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert len(body) < 1000
    assert gzip.decompress(body) == b"text\n" * 1000


def test_what_nginx_does_not_find_is_asked_of_the_application(site: ProjectStack) -> None:
    """Extensions have files of their own below /static, and the page for a 404 is the application's."""
    assert site.get("/static/generated.js").body == b"1"
    # Nginx does not look for a name with a quote in it
    assert site.get("/static/a%20%22b%22.txt").body == b"c"
    missing = site.get("/static/nothing.css")
    assert (missing.status, missing.body) == (404, b"<h1>This page is not there</h1>")


@pytest.mark.parametrize(
    "path",
    [
        "/static/../static-not.txt",
        "/static../static-not.txt",
        "/static/..%2fstatic-not.txt",
        "/static/%2e%2e/static-not.txt",
        "/static/../web.py",
        "/static/",
    ],
)
def test_nothing_outside_the_directory_can_be_read(site: ProjectStack, path: str) -> None:
    """As a client sends it that does not tidy the path first."""
    request = requests.Request("GET", site.base).prepare()
    request.url = f"{site.base}{path}"
    answer = requests.Session().send(request, timeout=10)
    assert answer.status_code == 404
    assert b"secret" not in answer.content


@pytest.mark.parametrize(("method", "status"), [("POST", 405), ("TRACE", 405), ("HEAD", 200)])
def test_files_are_for_reading(site: ProjectStack, method: str, status: int) -> None:
    assert site.api(method, "/static/style.css").status == status


def test_a_directory_that_is_not_there_ends_the_container(tmp_path: Path) -> None:
    stack = Stack(make_project("html", tmp_path), APP_MODULE="web:app", STATIC_PATH="/nowhere")
    try:
        assert stack.process.wait(10) == 1
        assert "STATIC_PATH='/nowhere' cannot be used; allowed: a directory" in stack.log()[-1]["message"]
    finally:
        stack.remove()


def test_pages_get_no_policy_that_breaks_them(site: ProjectStack) -> None:
    """Over https, Flask-WTF refuses forms that come without a Referer; a policy for pages is the application's."""
    page = site.get("/")
    assert "Content-Security-Policy" not in page.headers
    assert page.headers["Referrer-Policy"] == "strict-origin-when-cross-origin"


def test_json_is_never_a_page(site: ProjectStack) -> None:
    """Here Nginx's own."""
    answer = site.api("POST", "/login", body=b"x" * (1024**2 + 1))
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
