"""What keeps process 1 at work: output that nobody reads, an Nginx that hangs, clients that stay."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest
from supervisor.states import SupervisorStates

from entrypoint import logs, output
from entrypoint.drain import client_connections
from entrypoint.output import PatientStream
from entrypoint.supervise import _Supervisor, stopped_processes
from entrypoint.watch import Watch
from tests.running import descendants, wait_for


@pytest.fixture
def pipe(monkeypatch):
    """A reader and a writer."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    monkeypatch.setattr(output, "PATIENCE_SECONDS", 0.05)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def log(stream, message):
    with contextlib.redirect_stderr(stream):
        logs.write("info", "test", message)


def read(reader):
    data = b""
    try:
        while chunk := os.read(reader, 2**20):
            data += chunk
    except BlockingIOError:
        return [json.loads(line)["message"] for line in data.splitlines()]


def test_lines_that_nobody_reads_are_dropped_and_counted(pipe):
    reader, writer = pipe
    stream = PatientStream(writer)
    begin = time.monotonic()
    for number in range(1000):
        log(stream, f"{number} {'x' * 500}")
    # for each of them it would be 45 s
    assert time.monotonic() - begin < 20, "it has waited more than once"
    log_of = read(reader)
    log(stream, "somebody reads again")
    log_of += read(reader)
    assert log_of[-1] == "somebody reads again"
    dropped = [int(line.split()[0]) for line in log_of if "lines before this one were dropped" in line]
    kept = [int(line.split()[0]) for line in log_of if line.endswith("x")]
    assert dropped and kept == list(range(len(kept)))
    assert len(kept) + sum(dropped) == 1000
    log(stream, "and again")
    assert read(reader) == ["and again"]


def test_who_reads_again_is_waited_for_again(pipe, monkeypatch):
    reader, writer = pipe
    stream = PatientStream(writer)
    for _ in range(200):
        log(stream, "x" * 1000)
    monkeypatch.setattr(output, "PATIENCE_SECONDS", 10)
    read(reader)
    log(stream, "read again")
    with contextlib.suppress(BlockingIOError):
        os.set_blocking(writer, False)
        while True:
            os.write(writer, b'{"message": "full"}\n')
    found = []
    reading = threading.Timer(0.05, lambda: found.extend(read(reader)))
    reading.start()
    log(stream, "waited for")
    reading.join()
    assert "full" in found
    assert "waited for" in found + read(reader)


def test_a_line_longer_than_the_pipe_is_ended_before_the_next(pipe):
    reader, writer = pipe
    stream = PatientStream(writer)
    log(stream, "x" * 200_000)
    log(stream, "dropped")
    lines = b""
    while not lines.endswith(b'"next"}\n'):
        lines += os.read(reader, 2**20)
        log(stream, "next")
    messages = [json.loads(line)["message"] for line in lines.splitlines()]
    assert messages[0] == "x" * 200_000
    assert "dropped" not in messages


def test_a_reader_that_has_gone_is_no_error():
    reader, writer = os.pipe()
    stream = PatientStream(writer)
    os.close(reader)
    log(stream, "to nobody")
    os.close(writer)


def test_the_descriptor_of_others_still_blocks(pipe):
    PatientStream(pipe[1])
    assert os.get_blocking(pipe[1])


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_a_server_that_answers_nothing_is_noticed(listener):
    watch = Watch(listener.getsockname()[1], seconds=0.05)
    wait_for(watch.look)
    assert watch.unanswered == 1
    wait_for(watch.look)
    assert watch.unanswered == 2


def test_a_server_whose_queue_is_full_is_noticed(listener):
    listener.listen(0)
    address = listener.getsockname()
    with contextlib.ExitStack() as waiting:
        while True:
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(address)
            if not select.select([], [client], [], 0.2)[1]:
                break
        watch = Watch(address[1], seconds=0.05)
        wait_for(watch.look)
        assert watch.unanswered == 1


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 502 Bad Gateway\r\n\r\n"])
def test_any_answer_is_a_good_one(listener, answer):
    watch = Watch(listener.getsockname()[1], seconds=0.05)
    wait_for(watch.look)
    listener.accept()[0].close()
    watch = Watch(listener.getsockname()[1], seconds=60)
    watch.unanswered = 1
    assert not watch.look()
    connection, _ = listener.accept()
    # nginx/logging.conf knows it by its name
    assert connection.recv(100) == b"GET /ping HTTP/1.0\r\nHost: localhost\r\nUser-Agent: entrypoint\r\n\r\n"
    connection.sendall(answer)
    wait_for(lambda: not watch.look() and watch.unanswered == 0)


@pytest.mark.parametrize("linger", [struct.pack("ii", 0, 0), struct.pack("ii", 1, 0)], ids=["closed", "reset"])
def test_the_end_of_a_connection_is_neither_an_answer_nor_none(listener, linger):
    """The program has died, and is started anew by whoever has to."""
    watch = Watch(listener.getsockname()[1], seconds=60)
    watch.unanswered = 1
    assert not watch.look()
    connection, _ = listener.accept()
    assert connection.recv(100)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connection.close()
    wait_for(lambda: select.select([watch._connection], [], [], 0)[0])
    assert not watch.look()
    assert watch.unanswered == 1


def test_a_server_that_is_not_there_is_not_the_watch_s_business(listener):
    port = listener.getsockname()[1]
    listener.close()
    watch = Watch(port, seconds=0)
    assert [watch.look() for _ in range(5)] == [False] * 5
    assert watch.unanswered == 0


def test_an_nginx_that_hangs_is_killed_and_if_the_next_one_hangs_too_it_is_over(listener, capsys):
    supervisor = _Supervisor.__new__(_Supervisor)
    supervisor.options = SimpleNamespace(mood=SupervisorStates.RUNNING)
    supervisor.watch, supervisor.stopped = Watch(listener.getsockname()[1], seconds=0.05), set()

    def hangs():
        """What it is told every five seconds, until it does something about it."""
        programs = {name: subprocess.Popen(["sleep", "60"], process_group=0) for name in ("gunicorn", "nginx")}
        processes = {
            name: SimpleNamespace(config=SimpleNamespace(name=name), pid=program.pid)
            for name, program in programs.items()
        }
        supervisor.process_groups = {"all": SimpleNamespace(processes=processes)}

        def noticed():
            supervisor.on_tick(None)
            return programs["nginx"].poll() is not None or supervisor.failure

        try:
            wait_for(noticed)
            return {name: program.poll() for name, program in programs.items()}
        finally:
            for program in programs.values():
                program.kill()
                program.wait()

    assert hangs() == {"gunicorn": None, "nginx": -signal.SIGKILL}
    assert supervisor.options.mood == SupervisorStates.RUNNING
    assert "nginx takes connections and answers nothing: killed" in capsys.readouterr().err
    assert hangs() == {"gunicorn": None, "nginx": None}
    assert supervisor.options.mood == SupervisorStates.SHUTDOWN
    assert "is standard output read by anybody?" in supervisor.failure


@pytest.mark.parametrize(("every", "too_often"), [(6, True), (7, False)])
def test_a_program_may_be_restarted_again_and_again_but_not_too_often(monkeypatch, every, too_often):
    """Ten times a minute; however often in all."""
    supervisor = _Supervisor.__new__(_Supervisor)
    supervisor.restarts = {}
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    found = []
    for _ in range(30):
        now += every
        found.append(supervisor.restarted_too_often("nginx"))
        assert not supervisor.restarted_too_often(f"another {len(found)}")
    assert found == [False] * 9 + [too_often] * 21


def test_a_process_may_have_any_name(tmp_path):
    # which the kernel cuts within a character
    program = shutil.copy(shutil.which("sleep"), tmp_path / "überprüfungläuft")
    process = subprocess.Popen([program, "60"], process_group=0)
    try:
        assert stopped_processes({process.pid}) == set()
        assert process.pid in [child["pid"] for child in descendants(os.getpid())]
        process.send_signal(signal.SIGSTOP)
        wait_for(lambda: stopped_processes({process.pid}) == {process.pid})
        # who stops it for a moment may go on with it
        supervisor = _Supervisor.__new__(_Supervisor)
        supervisor.stopped = set()
        supervisor.process_groups = {"all": SimpleNamespace(processes={"it": process})}
        supervisor.kill_stopped()
        assert stopped_processes({process.pid}) == {process.pid}
        supervisor.kill_stopped()
        assert process.wait(5) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_connections_of_clients_are_counted(address):
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip("this machine has no IPv6")
    port = listener.getsockname()[1]
    assert client_connections(port) == 0
    with listener, socket.create_connection((address, port)), socket.create_connection((address, port)):
        # the clients' own ends do not count; the kernel may take a moment for the others
        wait_for(lambda: client_connections(port) == 2)
    wait_for(lambda: client_connections(port) == 0)


def test_only_open_connections_to_the_port_are_counted(tmp_path):
    """As a container sees them: the other ends are elsewhere."""
    ends = [
        ("00000000:0050", "00000000:0000", "0A"),
        ("0200A8C0:0050", "0100A8C0:C001", "01"),
        ("0200A8C0:0050", "0100A8C0:C002", "01"),
        ("0200A8C0:0050", "0100A8C0:C003", "06"),
        ("0200A8C0:C004", "0300A8C0:0050", "01"),
    ]
    lines = [f"{number}: {' '.join(fields)} 00000000:00000000" for number, fields in enumerate(ends)]
    (tmp_path / "tcp").write_text("\n".join(["sl local_address rem_address st", *lines]))
    assert client_connections(80, tmp_path) == 2
