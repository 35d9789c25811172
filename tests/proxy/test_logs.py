"""One JSON object a line, whatever a client sends; one id of a request everywhere; no secrets."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from entrypoint import logs
from tests.proxy.raw import ask, assert_problem, exchange, request
from tests.proxy.upstreams import nginx_alone
from tests.running import Stack, json_lines, stack, wait_for


@pytest.fixture
def line(shown):
    """Sends a request, and returns the response with the access line that it made."""

    def send(data: bytes, **options):
        response = ask(shown.port, data, **options)
        id = response.get("x-request-id")
        return response, wait_for(lambda: next((line for line in access(shown) if line["request_id"] == id), None))

    return send


def access(running):
    return [line for line in running.log() if line.get("logger") == "access"]


def test_every_field(line):
    response, logged = line(
        request("PUT", "/seen?token=secret", "User-Agent: someone/1.0", "X-Amzn-Trace-Id: Root=1-2-3", body=b"x"),
        source="127.0.7.1",
    )
    assert list(logged) == [
        "time", "level", "logger", "request_id", "client", "method", "path", "protocol", "status", "bytes",
        "request_time", "upstream_time", "failure", "user_agent", "trace_id",
    ]  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", logged["time"])
    assert logged["client"] == "127.0.7.1"
    assert (logged["level"], logged["method"], logged["path"], logged["protocol"]) == (
        "info",
        "PUT",
        "/seen",
        "HTTP/1.1",
    )
    assert logged["status"] == 200
    assert logged["bytes"] > len(response.body)
    assert 0 <= logged["upstream_time"] <= logged["request_time"] + 0.01
    assert (logged["failure"], logged["user_agent"], logged["trace_id"]) == ("", "someone/1.0", "Root=1-2-3")


def test_the_same_id_in_the_header_the_body_and_every_log_line(shown, line):
    _, logged = line(request("GET", "/log?who=me"))
    id = logged["request_id"]
    assert re.fullmatch("[0-9a-f]{32}", id)
    application = wait_for(lambda: [entry for entry in shown.log() if entry.get("message") == "hello from me"])
    assert [entry["request_id"] for entry in application] == [id]

    response, logged = line(request("TRACE", "/seen"))
    assert response.json["request_id"] == logged["request_id"] == response.get("x-request-id")

    response, logged = line(request("GET", "/raise"))
    failures = wait_for(lambda: [entry for entry in shown.log() if entry.get("request_id") == logged["request_id"]][1:])
    assert response.json["request_id"] == logged["request_id"]
    assert any("RuntimeError: as asked" in entry.get("exception", "") for entry in failures)


def test_two_requests_of_a_connection_have_two_ids(shown):
    one = request("GET", "/seen").replace(b"Connection: close\r\n", b"")
    raw = exchange(shown.port, one + request("GET", "/seen"))
    ids = re.findall(rb"X-Request-Id: (\w+)", raw)
    assert len(set(ids)) == 2


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "OPTIONS"])
def test_the_method_of_a_refused_request_is_its_own(shown, method):
    """Nginx itself makes a GET of it on the way to the document."""
    exchange(shown.port, request(method, "/seen", f"User-Agent: refused {method}", *["X: y"] * 200))
    entry = wait_for(lambda: [e for e in access(shown) if e["user_agent"] == f"refused {method}"])[0]
    assert (entry["method"], entry["status"], entry["upstream_time"]) == (method, 431, None)


HOSTILE = [
    b'"', b"\\", b'","status":200,"x":"', b"\t", b"\x1b[2J\x1b[31mred", b"\xff\xfe", b"\xc3\xa9", "\u2028".encode(),
    b"\xed\xa0\x80", b"%0a%0d", b"\\n{\\", b"{}", b"</script>", b"'", b"`$(id)`", b"\x7f",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=repr)
def test_a_line_stays_a_line_whatever_a_header_holds(shown, text):
    mark = os.urandom(4).hex()
    head = (
        b"GET /seen?%b HTTP/1.1\r\nHost: h\r\nX-Mark: y\r\nUser-Agent: %b%b\r\nX-Amzn-Trace-Id: %b\r\nReferer: %b\r\n"
    )
    exchange(shown.port, head % (b"q", mark.encode(), text, text, text) + b"Connection: close\r\n\r\n")
    # every line is read as JSON on the way
    entry = wait_for(lambda: [entry for entry in access(shown) if entry["user_agent"].startswith(mark)])[0]
    printable = re.match(rb"[\x20-\x7e]*", text)[0].decode()
    assert (entry["user_agent"], entry["trace_id"]) == (mark + printable, printable)
    assert shown.stdout.read_bytes().isascii()


@pytest.mark.parametrize("text", HOSTILE, ids=repr)
def test_a_line_stays_a_line_whatever_the_request_line_holds(shown, text):
    exchange(shown.port, b"GET /path" + text + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    exchange(shown.port, b"GET" + text + b" /path HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    exchange(shown.port, b"GET /path HTTP/1.1" + text + b"\r\nHost: h\r\nConnection: close\r\n\r\n")
    # log() reads every line as the JSON object that it has to be
    assert wait_for(lambda: [entry for entry in access(shown) if entry["path"].startswith("/path")])


def test_a_line_fits_in_one_write(shown):
    """More than a pipe takes at once (4,096 bytes) could be mixed with another process's."""
    long = '"' * 8000
    exchange(shown.port, request("GET", "/" + long))
    exchange(shown.port, request("A" * 8000, "/seen"))
    exchange(shown.port, request("GET", "/seen").replace(b"HTTP/1.1", b"HTTP/1.1" + b" " * 8000))
    for name in ("User-Agent", "X-Amzn-Trace-Id", "Referer", "Host"):
        exchange(shown.port, request("GET", "/long?" + "q" * 500, f"{name}: {long}"))
    wait_for(lambda: len([entry for entry in access(shown) if entry["path"] == "/long"]) >= 3)
    # of the path that much is kept; another worker may write its line later
    wait_for(lambda: max(len(entry["path"]) for entry in access(shown)) == 1024)
    assert max(len(raw) for raw in shown.stdout.read_bytes().splitlines()) < 4096


SECRET = "s3cr3t"
HOLDING_SECRETS = {
    "query": request("GET", f"/seen?token={SECRET}"),
    "query of a request that fails": request("GET", f"/raise?token={SECRET}"),
    "query of a body that is too large": request("PUT", f"/seen?token={SECRET}", "Content-Length: 9999999"),
    "query of a broken connection": request("GET", f"/exit?token={SECRET}"),
    "query with a quote": request("GET", f'/raise?"token={SECRET}'),
    "query that Gunicorn refuses": request("GET", f"/seen?token={SECRET}", "X: \x01"),
    "fragment": request("GET", f"/seen#token={SECRET}"),
    "Authorization": request("GET", "/raise", f"Authorization: Bearer {SECRET}"),
    "Authorization that Gunicorn refuses": request("GET", "/seen", f"Authorization: Bearer {SECRET}\x01"),
    "Authorization that Nginx refuses": request("GET", "/seen", f"Authorization: Bearer {SECRET}\x00"),
    "two of them": request("GET", "/seen", f"Authorization: Bearer {SECRET}", f"Authorization: Bearer {SECRET}"),
    "too long a one": request("GET", "/seen", f"Authorization: Bearer {SECRET * 2000}"),
    "Cookie": request("GET", "/raise", f"Cookie: session={SECRET}"),
    "Referer": request("PUT", "/raise", f"Referer: http://x/?token={SECRET}"),
    "body": request("PUT", "/raise", body=SECRET.encode()),
    "request line that is none": f"GET /x y?token={SECRET} HTTP/1.1\r\n\r\n".encode(),
    "absolute form": request("GET", f"http://u/raise?token={SECRET}"),
}  # fmt: skip


@pytest.fixture(scope="module")
def talkative(project):
    """Nginx says most at this level; the limits of time and size make it speak."""
    with stack(project, APP_MODULE="shown:app", LOG_LEVEL="debug") as running:
        yield running


@pytest.mark.parametrize("name", HOLDING_SECRETS)
def test_no_secret_is_in_any_line(talkative, name):
    before = len(access(talkative))
    exchange(talkative.port, HOLDING_SECRETS[name], first=True)
    wait_for(lambda: len(access(talkative)) > before)
    # what this request has caused is there when what a later one causes is
    mark = os.urandom(4).hex()
    exchange(talkative.port, request("GET", f"/log?who={mark}"))
    wait_for(lambda: f"hello from {mark}" in talkative.messages())
    assert SECRET not in talkative.stdout.read_text()
    assert SECRET not in talkative.stderr.read_text()


FORGED = [
    f"a\n{json.dumps({'level': 'critical', 'logger': 'access', 'message': 'FORGED'})}\n",
    "a\n2026/11/22 12:00:00 [emerg] 1#1: FORGED\n",
    'a" FORGED, client: 6.6.6.6, server: localhost, request: "GET /forged',
    "a FORGED, client: 6.6.6.6, server: localhost",
]


@pytest.fixture(scope="module")
def static(project, tmp_path_factory):
    """A directory for static files with a path that Nginx cannot read, whoever it runs as."""
    directory = tmp_path_factory.mktemp("static")
    (directory / "loop").symlink_to("loop")
    (directory / 'a"b').touch()
    with stack(project, APP_MODULE="shown:app", STATIC_PATH=str(directory)) as running:
        yield running


def test_nginx_does_not_look_for_a_path_with_a_quote(static):
    assert ask(static.port, request("GET", "/static/a%22b")).status == 404


@pytest.mark.parametrize("path", FORGED)
def test_a_path_that_nginx_logs_forges_no_line(static, path):
    mark, before = os.urandom(4).hex(), len(static.stderr.read_text())
    for name in (path, mark):
        exchange(static.port, request("GET", f"/static/loop/{quote(name)}?token={SECRET}"))
    said = wait_for(lambda: [message for message in static.messages() if mark in message])
    assert len(said) == 1
    assert f'/loop/{mark}" failed (40: Too many levels of symbolic links), client: 127.0.0.1, request: "GET ' in said[0]
    errors = static.stderr.read_text()[before:]
    assert not [text for text in ("FORGED", "6.6.6.6", SECRET) if text in errors]


def test_a_header_that_nginx_quotes_forges_no_client(talkative):
    forged = f'a, client: 6.6.6.6, server: localhost, request: "GET /{os.urandom(4).hex()} '
    exchange(talkative.port, request("GET", "/seen", f"Host: {forged}"))
    wait_for(lambda: any("duplicate host header" in message for message in talkative.messages()))
    assert "6.6.6.6" not in talkative.stderr.read_text()


def test_health_checks_are_logged_when_they_fail(project):
    with stack(project, APP_MODULE="shown:app") as running:
        assert running.get("/ping").status == 200
        assert running.api("HEAD", "/ping").status == 200
        assert running.api("PUT", "/ping").status == 405
        # the container's own, of an application that has no /ping
        for agent in ("healthcheck", "entrypoint"):
            assert running.api("PUT", "/ping", headers={"User-Agent": agent}).status == 405
        assert running.api("PUT", "/ping", headers={"User-Agent": "healthcheck/2"}).status == 405
        exchange(running.port, request("GET", "/seen/../ping"))
        assert running.get("/seen").status == 200
        wait_for(lambda: len(access(running)) >= 3)
        # each Nginx worker writes lines of its own
        found = sorted((entry["path"], entry["status"]) for entry in access(running))
        assert found == [("/ping", 405), ("/ping", 405), ("/seen", 200)]


def test_a_health_check_that_gunicorn_does_not_answer_is_logged():
    with nginx_alone() as nginx:
        assert ask(nginx.port, request("GET", "/ping")).status == 200
        nginx.recorder.close()
        assert_problem(ask(nginx.port, request("GET", "/ping")), 502)
        wait_for(lambda: ("/ping", 502) in [(entry["path"], entry["status"]) for entry in nginx.access_lines()])
        assert ("/ping", 200) not in [(entry["path"], entry["status"]) for entry in nginx.access_lines()]


def test_a_health_check_that_the_application_fails_is_logged():
    answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    with nginx_alone(lambda connection, _: connection.sendall(answer)) as nginx:
        assert ask(nginx.port, request("GET", "/ping", "User-Agent: healthcheck")).status == 503
        wait_for(lambda: ("/ping", 503) in [(entry["path"], entry["status"]) for entry in nginx.access_lines()])


@pytest.mark.parametrize(
    "answer, failure",
    [
        (b"", "Gunicorn ended the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\nX: y\r\n", "the headers of Gunicorn's answer do not end, or are longer than 8 KiB"),
        (
            b"HTTP/1.1 200 OK\r\nX: %b\r\n\r\n" % (b"y" * 9000),
            "the headers of Gunicorn's answer do not end, or are longer than 8 KiB",
        ),
    ],
    ids=["none", "half", "long"],
)
def test_the_access_line_says_why_gunicorn_gave_no_answer(answer, failure):
    with nginx_alone(lambda connection, _: connection.sendall(answer)) as nginx:
        id = assert_problem(ask(nginx.port, request("PUT", "/seen")), 502)["request_id"]
        assert wait_for(lambda: failures(nginx)) == {id: failure}
        nginx.recorder.close()
        id = assert_problem(ask(nginx.port, request("PUT", "/seen")), 502)["request_id"]
        wait_for(lambda: failures(nginx).get(id) == "Gunicorn takes no connection")


def test_a_request_that_a_stop_cuts_off_has_a_line(changed_project):
    """Nginx has no status for it: 000, which is no number in JSON."""
    project, gate = changed_project("nginx/nginx.conf", "worker_shutdown_timeout", "1s"), threading.Event()
    with nginx_alone(lambda *_: gate.wait(), project=project) as nginx, ThreadPoolExecutor(1) as threads:
        asked = threads.submit(exchange, nginx.port, request("PUT", "/seen"))
        wait_for(lambda: nginx.recorder.requests)
        nginx.process.send_signal(signal.SIGQUIT)
        assert asked.result() == b""
        nginx.process.wait(10)
        gate.set()
        assert [line["status"] for line in nginx.access_lines() if line["path"] == "/seen"] == [0]


@pytest.mark.parametrize("status", [502, 504])
def test_an_answer_of_the_applications_own_is_no_failure_of_gunicorns(line, status):
    response, logged = line(request("GET", f"/own/{status}"))
    assert (response.status, logged["status"], logged["failure"]) == (status, status, "")


def failures(nginx):
    return {line["request_id"]: line["failure"] for line in nginx.access_lines() if line["status"] == 502}


def test_nginx_tells_more_when_it_is_asked_to_debug(talkative, tmp_path):
    """Its own words are known to whoever searches for them; by default the access line's take their place."""
    exchange(talkative.port, request("GET", f"/die?file={tmp_path}/seen"))
    words = "upstream prematurely closed connection while reading response header from upstream"
    wait_for(lambda: any(words in message for message in talkative.messages()))


def test_gunicorn_tells_more_when_it_is_asked_to_debug(talkative):
    exchange(talkative.port, request("GET", "/seen?asked=once"))
    wait_for(lambda: {"GET /seen", "Closing connection."} <= set(talkative.messages()))


def test_lines_that_wait_to_be_written_are_there_after_a_stop(project):
    with stack(project, APP_MODULE="shown:app", DRAIN_SECONDS="0") as running:
        ids = [running.get("/seen").headers["X-Request-Id"] for _ in range(5)]
        assert running.stop() == 0
        assert set(ids) <= {entry["request_id"] for entry in access(running)}


def test_lines_of_two_workers_do_not_mix(project):
    """In a pipe, which takes 4,096 bytes in one piece, and here holds no more."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    received = bytearray()

    def read():
        while data := os.read(reader, 1000):
            received.extend(data)

    thread = threading.Thread(target=read)
    thread.start()
    nginx = {"APP_MODULE": "shown:app", "NGINX_WORKER_PROCESSES": "2"}
    with Stack(project, stdout=writer, **nginx) as running:
        os.close(writer)
        running.wait_ready()

        def send(client):
            agents = [f"{client}-{number}-{'y' * (number % 200)}" for number in range(300)]
            for agent in agents:
                assert running.get("/" + "z" * 1000, **{"User-Agent": agent}).status == 404
            return agents

        with ThreadPoolExecutor(4) as pool:
            sent = {agent for agents in pool.map(send, range(4)) for agent in agents}
        assert running.stop() == 0
    thread.join(10)
    os.close(reader)
    assert {line["user_agent"] for line in json_lines(received.decode()) if line["path"].startswith("/zz")} == sent


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": ' * 20_000, "{'a': 1}", "[1]", "1", "{} {}", '{"a": "\udcff"}'])
def test_what_an_application_prints_becomes_json(capsys, text):
    output = logs.ProgramOutput("gunicorn", "info")
    output.feed(text.encode(errors="surrogateescape") + b"\n")
    printed = capsys.readouterr().err
    assert json.loads(printed, parse_constant=pytest.fail)["logger"] == "gunicorn"
    assert printed.count("\n") == 1


def test_a_line_that_does_not_end_is_cut(capsys):
    output = logs.ProgramOutput("gunicorn", "info")
    for _ in range(3 * logs.LONGEST_LINE // 4096):
        output.feed(b"x" * 4096)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert all(len(json.loads(line)["message"]) <= logs.LONGEST_LINE + 4096 for line in lines)


def test_bytes_that_are_no_utf_8_are_shown(capsys):
    output = logs.ProgramOutput("nginx", "info")
    output.feed(
        b'2026/11/22 12:00:00 [error] 1#1: *1 open() "\xff" failed, client: 1.2.3.4, server: x, request: "GET /\xff?a"\n'
    )
    entry = json.loads(capsys.readouterr().err)
    assert (entry["level"], entry["message"]) == (
        "error",
        '*1 open() "\\xff" failed, client: 1.2.3.4, request: "GET /\\xff"',
    )
