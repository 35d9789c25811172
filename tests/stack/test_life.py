"""Start, stop and death: what an operator fears."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.running import START_SECONDS, Stack, free_port, stack, wait_for


def find(running: Stack, what: str) -> list[int]:
    """The pids of "gunicorn worker", "gunicorn master", "nginx worker" or "nginx master"."""
    processes = running.processes()
    program, role = what.split()
    mine = [
        process
        for process in processes
        if f"{program}: {role}" in process["argv"] or f"{program} --" in process["argv"]
    ]
    first = running.process.pid
    return [process["pid"] for process in mine if (process["ppid"] == first) == (role == "master")]


def wait_complete(running: Stack) -> None:
    """Nginx answers as soon as one of the two workers is there."""
    wait_for(
        lambda: len(find(running, "gunicorn worker")) == 2 and len(running.processes()) == 6, START_SECONDS, "all run"
    )


def in_flight(running: Stack, directory: Path, count: int, seconds: float) -> tuple[ThreadPoolExecutor, list]:
    """Send requests that take some time, and return once the application has all of them."""
    threads = ThreadPoolExecutor(count)
    paths = [directory / f"request-{n}" for n in range(count)]
    futures = [threads.submit(running.get, f"/wait?seconds={seconds}&name={path}") for path in paths]
    wait_for(lambda: all(path.exists() for path in paths))
    return threads, futures


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_stop_answers_every_request_that_is_under_way(project, number):
    with stack(project, APP_MODULE="hello:app") as running:
        threads, futures = in_flight(running, project, 8, seconds=1.5)
        running.process.send_signal(number)
        wait_for(lambda: refuses(running.port))
        # a second one does not cut it short
        running.process.send_signal(number)
        assert [future.result().status for future in futures] == [200] * 8
        assert running.process.wait(10) == 0
        threads.shutdown()
        stopped = [message for message in running.messages() if message.startswith("stopped: ")]
        assert [message.split()[1] for message in stopped] == ["nginx", "gunicorn"]


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_nobody_sees_a_502_while_it_starts(project):
    """Nginx takes no connection before a worker is ready: until then they are refused."""
    (project / "hello.py").write_text(
        "import threading\nthreading.Event().wait(1.5)\n" + (project / "hello.py").read_text()
    )
    running = Stack(project, APP_MODULE="hello:app")
    try:
        statuses = []

        def ask():
            try:
                statuses.append(running.get("/ping").status)
            except OSError:
                statuses.append("refused")
            return statuses[-1] == 200

        wait_for(ask, 20)
        assert statuses.count("refused") > 10
        assert set(statuses) == {"refused", 200}
    finally:
        running.remove()


@pytest.mark.parametrize("preload", ["1", "0"])
@pytest.mark.parametrize("victim", ["gunicorn worker", "gunicorn master", "nginx worker", "nginx master"])
def test_what_is_killed_comes_back_within_two_seconds(project, victim, preload):
    with stack(project, APP_MODULE="hello:app", PRELOAD_APP=preload) as running:
        wait_complete(running)
        before = {what: set(find(running, what)) for what in ("gunicorn worker", "nginx worker", victim)}
        killed = find(running, victim)[0]
        os.kill(killed, signal.SIGKILL)

        def back():
            now = {what: set(find(running, what)) for what in before}
            same = {what: len(pids) for what, pids in now.items()} == {what: len(pids) for what, pids in before.items()}
            return same and killed not in now[victim] and running.answers()

        wait_for(back, running.back_seconds, f"{victim} is back")
        # what the dead one left behind goes as well
        wait_for(lambda: [process["state"] != "Z" for process in running.processes()] == [True] * 6, 5, "nothing else")


@pytest.mark.parametrize("victim", ["gunicorn master", "nginx master"])
def test_what_ends_without_a_failure_comes_back_as_well(project, victim):
    """Told to stop by somebody else than the first process."""
    with stack(project, APP_MODULE="hello:app") as running:
        wait_complete(running)
        ended = find(running, victim)[0]
        os.kill(ended, signal.SIGTERM)
        wait_for(lambda: find(running, victim) not in ([], [ended]) and running.answers(), 10, f"{victim} is back")


@pytest.mark.parametrize("victim", ["gunicorn worker", "gunicorn master", "nginx worker", "nginx master"])
def test_what_is_stopped_is_replaced_and_the_others_go_on(project, victim):
    with stack(project, APP_MODULE="hello:app") as running:
        wait_complete(running)
        stopped = find(running, victim)[0]
        os.kill(stopped, signal.SIGSTOP)
        asked = ThreadPoolExecutor(4)
        try:
            wait_for(
                lambda: stopped not in find(running, victim) and find(running, victim), 30, f"{victim} is replaced"
            )
            wait_for(running.answers)
        finally:
            asked.shutdown()
        assert len([line for line in running.messages() if f"process {stopped} has been stopped" in line]) == 1


def test_a_worker_whose_request_never_ends_is_replaced(project):
    with stack(project, APP_MODULE="hello:app", GUNICORN_CMD_ARGS="--timeout 5 --graceful-timeout 1") as running:
        wait_complete(running)
        before = set(find(running, "gunicorn worker"))
        threads, _ = in_flight(running, project, 1, seconds=3600)
        assert running.answers()
        wait_for(lambda: len(set(find(running, "gunicorn worker")) - before) == 1, 20, "one worker is new")
        assert running.answers()
        said = wait_for(lambda: [message for message in running.messages() if "has run for more than" in message])
        assert "hello.py" in said[0]
        running.remove()
        threads.shutdown()


def test_a_worker_that_is_replaced_waits_for_requests_that_end_in_time_and_for_no_other(project):
    options = "--timeout 5 --graceful-timeout 30"
    with stack(project, APP_MODULE="hello:app", WEB_CONCURRENCY="1", GUNICORN_CMD_ARGS=options) as running:
        (before,) = wait_for(lambda: find(running, "gunicorn worker"))
        begun = time.monotonic()
        stuck, _ = in_flight(running, project, 2, seconds=3600)
        wait_for(lambda: time.monotonic() - begun > 3, 4, "some time has passed")
        (project / "young").mkdir()
        young, (answer,) = in_flight(running, project / "young", 1, seconds=4)
        wait_for(lambda: find(running, "gunicorn worker") not in ([], [before]), 30, "the worker is another one")
        assert answer.result().status == 200
        assert running.answers()
        running.remove()
        stuck.shutdown()
        young.shutdown()


def test_a_reload_takes_the_application_anew_and_keeps_collecting_garbage(project):
    with stack(project, APP_MODULE="hello:app") as running:
        wait_complete(running)
        before = set(find(running, "gunicorn worker"))
        assert running.get("/seen").json["collects"]
        os.kill(find(running, "gunicorn master")[0], signal.SIGHUP)
        wait_for(lambda: len(found := set(find(running, "gunicorn worker"))) == 2 and not found & before, 10, "two new")
        seen = running.get("/seen").json
        assert seen["pid"] not in before
        assert seen["collects"]


def test_the_application_is_told_a_name_and_a_port_of_the_server(project):
    with stack(project, APP_MODULE="hello:app") as running:
        assert running.get("/seen").json["server"] == ["127.0.0.1", str(running.port)]


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_every_log_level_starts_and_the_application_may_use_it(project, level):
    """Whatever its case was, logging takes it."""
    with (project / "hello.py").open("a") as file:
        file.write('\nimport logging\nimport os\n\nlogging.getLogger("hello").setLevel(os.environ["LOG_LEVEL"])\n')
    with stack(project, APP_MODULE="hello:app", LOG_LEVEL=level) as running:
        assert running.answers()


BEGINS = """
import socket
import threading

threading.Thread(target=threading.Event().wait, name="mails", daemon=True).start()
connection = socket.create_connection(("127.0.0.1", {port}))
"""


@pytest.mark.parametrize("preload", ["1", "0"])
def test_what_the_application_begins_while_it_is_imported_is_named(project, preload):
    """A thread stays behind in Gunicorn's master, a database's connection mixes the workers' answers: no error tells."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with (project / "hello.py").open("a") as file:
            file.write(BEGINS.format(port=port))
        with stack(project, APP_MODULE="hello:app", PRELOAD_APP=preload) as running:
            told = (
                f"no worker has: mails, and opened connections, which all share: to port {port}. If requests need them"
            )
            wait_for(lambda: sum(told in message for message in running.messages()) == int(preload))


def starts(project: Path, **environment: str) -> tuple[int, list[dict]]:
    """Start what cannot run: the exit status, and the log."""
    running = Stack(project, **environment)
    try:
        return running.process.wait(START_SECONDS), running.log()
    finally:
        running.remove()


CANNOT_START = {
    "module that is not there": ({"APP_MODULE": "nope:app"}, "No module named 'nope'"),
    "attribute that is not there": ({"APP_MODULE": "hello:nope"}, "Failed to find attribute 'nope' in 'hello'"),
    "factory that is not there": ({"APP_MODULE": "hello:create()"}, "create"),
    "module that fails": ({"APP_MODULE": "broken:app"}, "ZeroDivisionError: division by zero"),
    "module with a syntax error": ({"APP_MODULE": "syntax:app"}, "SyntaxError"),
    "not a module name": ({"APP_MODULE": "a b"}, "APP_MODULE='a b' cannot be used; allowed: module:name or"),
    "preloading": ({"PRELOAD_APP": "false"}, "PRELOAD_APP='false' cannot be used; allowed: 0, 1"),
    "port": ({"PORT": "eighty"}, "PORT='eighty' cannot be used; allowed: a whole number from 1 to 65535"),
    "old name of the port": ({"PORT": "", "LISTEN_PORT": "70000"}, "LISTEN_PORT='70000' cannot be used"),
    "workers": ({"WEB_CONCURRENCY": "0"}, "WEB_CONCURRENCY='0' cannot be used; allowed: a whole number from 1 to 256"),
    "body size": ({"MAX_BODY_SIZE": "1 MB"}, "MAX_BODY_SIZE='1 MB' cannot be used; allowed: a size such as 512k"),
    "proxies": ({"TRUSTED_PROXIES": "10.0.0.1/8"}, "TRUSTED_PROXIES='10.0.0.1/8' cannot be used"),
    "log level": ({"LOG_LEVEL": "loud"}, "LOG_LEVEL='loud' cannot be used; allowed: debug, info, warning"),
    "Gunicorn's arguments": ({"GUNICORN_CMD_ARGS": "--nonsense"}, "--nonsense"),
    "run-time directory": ({"RUN_DIR": "/proc/nope"}, "the run-time directory /proc/nope cannot be written"),
    "supervisord's configuration": (
        {"SUPERVISORD": "broken"},
        "supervisord cannot start: .ini file does not include supervisord section",
    ),
    "Nginx's configuration": ({"NGINX": "broken"}, "nginx does not accept its configuration: "),
}


@pytest.mark.parametrize("name", CANNOT_START)
@pytest.mark.parametrize("preload", ["1", "0"])
def test_what_cannot_start_ends_and_says_why(project, name, preload):
    (project / "broken.py").write_text("1 / 0\n")
    (project / "syntax.py").write_text("def\n")
    environment, reason = CANNOT_START[name]
    if "NGINX" in environment:
        (project / "nginx" / "upstream.conf").write_text("upstream {\n")
    if "SUPERVISORD" in environment:
        (project / "supervisord.conf").write_text("[program:worker]\n")
    status, log = starts(project, **{"APP_MODULE": "hello:app", "PRELOAD_APP": preload} | environment)
    assert status == 1
    assert log[-1]["level"] == "critical"
    assert log[-1]["logger"] == "entrypoint"
    assert reason in log[-1]["message"]
    if preload == "1":
        messages = [line["message"] for line in log]
        assert len(messages) == len(set(messages)), "something is printed twice"


@pytest.mark.parametrize(
    ("arguments", "line", "bind"),
    [
        ("--bind 0.0.0.0:8000", "", "0.0.0.0:8000"),
        ("-b :8000 -b unix:/tmp/x.sock", "", ":8000,unix:/tmp/x.sock"),
        ("", 'bind = "127.0.0.1:8000"', "127.0.0.1:8000"),
    ],
)
def test_gunicorns_socket_stays_where_nginx_looks_for_it(project, arguments, line, bind):
    """Who has come from Gunicorn alone has its address in the arguments, or in the file."""
    with (project / "gunicorn.conf.py").open("a") as file:
        file.write(f"{line}\n")
    status, log = starts(project, APP_MODULE="hello:app", GUNICORN_CMD_ARGS=arguments)
    assert status == 1
    assert log[-1]["message"].endswith(
        f"cannot go on: bind='{bind}' cannot be used: Nginx needs Gunicorn's socket. Leave bind out, in "
        "GUNICORN_CMD_ARGS and in gunicorn.conf.py, and set PORT for Nginx's port"
    )


def test_no_argument_for_gunicorn_is_ignored(project):
    """Quotes around all of them, which docker's --env-file keeps, make one word that is no option."""
    arguments = '"--max-requests 1000 --timeout 20"'
    status, log = starts(project, APP_MODULE="hello:app", GUNICORN_CMD_ARGS=arguments)
    assert status == 1
    assert f"GUNICORN_CMD_ARGS={arguments!r} cannot be used: Gunicorn would ignore " in log[-1]["message"]


def test_a_port_that_is_taken_is_named(project):
    with socket.create_server(("0.0.0.0", free_port())) as taken:
        port = str(taken.getsockname()[1])
        status, log = starts(project, APP_MODULE="hello:app", PORT=port)
    assert status == 1
    assert f"port {port} cannot be bound: Address already in use" in log[-1]["message"]


def test_workers_that_die_as_fast_as_they_start_end_the_container(project):
    (project / "hello.py").write_text(
        (project / "hello.py").read_text()
        + "\nos.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGSEGV))\n"
    )
    status, log = starts(project, APP_MODULE="hello:app")
    assert status == 1
    assert "gunicorn ended with status 1" in log[-1]["message"]
    assert "workers died within a minute" in log[-1]["message"]


def test_a_program_that_is_killed_again_and_again_ends_the_container(project):
    with stack(project, APP_MODULE="hello:app") as running:

        def kill():
            for pid in find(running, "nginx master"):
                os.kill(pid, signal.SIGKILL)
            return running.process.poll() is not None

        wait_for(kill, 30)
        assert running.process.returncode == 1
        last = running.log()[-1]["message"]
        assert "nginx ended 10 times within 60 seconds, the last time terminated by SIGKILL; the last it said: " in last


def test_prestart_runs_first_and_its_variables_reach_the_application(project):
    (project / "prestart.sh").write_text(
        "#!/bin/bash\nset -e\n[[ -n bash ]]\nexport APP_MODULE=hello:app\ntouch migrated\n"
    )
    with stack(project) as running:
        assert running.get("/ping").status == 200
        assert (project / "migrated").exists()
        assert running.stop() == 0


@pytest.mark.parametrize("end", ["", "exit 0\n"])
def test_prestart_may_leave_the_directory_and_exit(project, end):
    (project / "migrations").mkdir()
    (project / "prestart.sh").write_text(f"cd migrations\nexport APP_MODULE=hello:app\ntouch ../migrated\n{end}")
    with stack(project) as running:
        assert running.get("/ping").status == 200
        assert (project / "migrated").exists()


def test_a_prestart_that_fails_ends_the_container(project):
    (project / "prestart.sh").write_text("echo migrating\nfalse\ntouch too-far\n")
    running = Stack(project, APP_MODULE="hello:app")
    try:
        assert running.process.wait(START_SECONDS) != 0
        assert json.loads(running.stderr.read_text().splitlines()[-1])["message"] == "prestart.sh failed with status 1"
        assert not (project / "too-far").exists()
    finally:
        running.remove()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_stop_during_prestart_is_heard(project, number):
    """Nothing is begun after it: bash itself would go on as after an exit 0."""
    (project / "prestart.sh").write_text("touch begun\nuntil [ -e never ]; do sleep 0.01; done\n")
    running = Stack(project, APP_MODULE="hello:app")
    try:
        wait_for((project / "begun").exists)
        assert running.stop(number) == 0
        assert running.messages() == ["stopped during prestart.sh"]
    finally:
        running.remove()


def test_nothing_is_left_after_a_stop(project, tmp_path_factory):
    temporary = tmp_path_factory.mktemp("temporary")
    with stack(project, APP_MODULE="hello:app", TMPDIR=str(temporary)) as running:
        wait_complete(running)
        # what the programs print is passed on and kept nowhere
        assert list(temporary.iterdir()) == []
        pids = [process["pid"] for process in running.processes()]
        assert running.stop() == 0
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_nothing_is_left_of_what_does_not_stop_in_time(project):
    configuration = project / "supervisord.conf"
    configuration.write_text(re.sub("(?m)^stopwaitsecs = .*", "stopwaitsecs = 1", configuration.read_text()))
    with stack(project, APP_MODULE="hello:app", DRAIN_SECONDS="0") as running:
        wait_complete(running)
        pids = [process["pid"] for process in running.processes()]
        threads, _ = in_flight(running, project, 1, seconds=3600)
        assert running.stop() == 0
        wait_for(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()], 20, "all have ended")
        threads.shutdown()


def test_it_starts_again_with_the_items_of_before(store_directory):
    """A container whose run-time directory outlives it."""
    environment = {"RUN_DIR": f"{store_directory}/run", "DRAIN_SECONDS": "0"}
    with stack(**environment) as running:
        address = running.api("PUT", "/item", {"title": "kept", "content": ""}).headers["Location"]
        assert running.stop() == 0
    with stack(**environment) as running:
        assert running.get(address).status == 200


def test_two_do_not_share_a_run_time_directory(project):
    """As containers with --ipc host would: the second one's Gunicorn would take the first one's requests."""
    with stack(project, APP_MODULE="hello:app") as running:
        run_dir = str(running.run_dir / "run")
        status, log = starts(project, APP_MODULE="hello:app", RUN_DIR=run_dir)
        assert status == 1
        assert [line["message"] for line in log] == [
            f"RUN_DIR={run_dir!r} cannot be used; allowed: a directory that no other container uses"
        ]
        assert running.answers()


def test_it_can_be_stopped_before_it_is_ready(project):
    (project / "hello.py").write_text("import threading\nthreading.Event().wait(30)\n")
    running = Stack(project, APP_MODULE="hello:app")
    try:
        wait_for(lambda: len(running.processes()) >= 2)
        begin = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - begin < 5
    finally:
        running.remove()


def test_a_worker_that_has_only_begun_is_stopped_at_once(project):
    """Its signals are still handled as the master's: none was heard, and the master waited half a minute."""
    slow = "os.register_at_fork(after_in_child=lambda: (os.mkdir('forked'), threading.Event().wait(1)))\n"
    (project / "hello.py").write_text((project / "hello.py").read_text() + slow)
    running = Stack(project, APP_MODULE="hello:app", WEB_CONCURRENCY="1")
    try:
        wait_for((project / "forked").exists)
        begin = time.monotonic()
        assert running.stop(seconds=40) == 0
        assert time.monotonic() - begin < 10
    finally:
        running.remove()


def test_memory_and_descriptors_do_not_grow_with_restarts(project):
    with stack(project, APP_MODULE="hello:app") as running:

        def descriptors():
            return len(list(Path(f"/proc/{running.process.pid}/fd").iterdir()))

        before = descriptors()
        for _ in range(3):
            old = find(running, "gunicorn master")[0]
            os.kill(old, signal.SIGKILL)
            wait_for(lambda old=old: find(running, "gunicorn master") not in ([], [old]) and running.answers())
        wait_for(lambda: descriptors() == before)
        assert threading.active_count() < 50


def test_workers_that_end_by_themselves_do_not_end_the_container(project):
    """max_requests: each of these lives for a second at most."""
    with stack(project, APP_MODULE="hello:app", GUNICORN_CMD_ARGS="--max-requests 3") as running:

        def ended():
            running.get("/wait")
            assert running.process.poll() is None, running.messages()[-1]
            return len([message for message in running.messages() if "Worker exiting" in message]) > 20

        wait_for(ended, 60)
        assert running.answers()
        assert running.stop() == 0


def test_a_stop_waits_for_the_clients_that_are_still_connected(project):
    """A load balancer has open connections until its health check fails."""
    with stack(project, APP_MODULE="hello:app", DRAIN_SECONDS="30") as running:
        client = HTTPConnection("127.0.0.1", running.port, timeout=10)

        def ask(path):
            client.request("GET", path)
            response = client.getresponse()
            return response.status, response.read()

        assert ask("/ping") == (200, b"pong")
        running.process.send_signal(signal.SIGTERM)
        _, said = wait_for(lambda: (answer := ask("/ping"))[0] == 503 and answer)
        assert b"about to stop" in said
        assert client.sock, "the connection was kept"
        # the same connection, and new ones, serve on
        assert ask("/wait") == (200, b"waited")
        assert running.get("/wait").status == 200
        assert not running.answers()
        client.close()
        assert running.process.wait(10) == 0


def test_a_stop_waits_for_clients_only_so_long(project):
    with stack(project, APP_MODULE="hello:app", DRAIN_SECONDS="1") as running:
        client = HTTPConnection("127.0.0.1", running.port)
        client.request("GET", "/ping")
        client.getresponse().read()
        begin = time.monotonic()
        assert running.stop() == 0
        assert 1 <= time.monotonic() - begin < 5
        client.close()


def test_a_log_that_nobody_reads_keeps_nothing_from_being_restarted(project):
    """Standard error is a pipe that is full."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x")
    os.set_blocking(writer, True)
    running = Stack(project, stderr=writer, APP_MODULE="hello:app")
    os.close(writer)
    try:
        running.wait_ready()
        for victim in ("gunicorn master", "nginx master"):
            killed = find(running, victim)[0]
            os.kill(killed, signal.SIGKILL)
            wait_for(lambda killed=killed: not Path(f"/proc/{killed}").exists() and running.answers(), 10)
        assert running.stop() == 0
    finally:
        os.close(reader)
        running.remove()
