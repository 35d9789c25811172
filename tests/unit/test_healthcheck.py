"""What the health check takes for healthy, and what not."""

from __future__ import annotations

import socket
import threading

import pytest

from entrypoint import healthcheck


@pytest.fixture
def listener(monkeypatch):
    """Stands for the container's Nginx."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("PORT", str(listener.getsockname()[1]))
        yield listener


@pytest.mark.parametrize(
    ("answer", "exit_status", "says"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 0, "healthy"),
        (b"HTTP/1.1 302 Found\r\n\r\n", 0, "healthy"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", 0, "healthy"),
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n", 1, "unhealthy: HTTP/1.1 500 Internal Server Error"),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", 1, "unhealthy: HTTP/1.1 503 Service Unavailable"),
        (b"\xff", 1, "unhealthy: \ufffd"),
        (b"", 1, "unhealthy: no answer"),
    ],
)
def test_an_answer_is_healthy_unless_it_is_a_failure(listener, capsys, answer, exit_status, says):
    asked = []

    def serve():
        connection, _ = listener.accept()
        with connection:
            asked.append(connection.recv(1000))
            connection.sendall(answer)

    server = threading.Thread(target=serve)
    server.start()
    assert healthcheck.main() == exit_status
    server.join()
    assert capsys.readouterr().out == f"{says}\n"
    # nginx/logging.conf knows it by its name
    assert asked == [b"GET /ping HTTP/1.0\r\nHost: localhost\r\nUser-Agent: healthcheck\r\n\r\n"]


def test_a_server_that_does_not_answer_is_unhealthy(listener, monkeypatch, capsys):
    monkeypatch.setattr(healthcheck, "TIMEOUT", 0.1)
    assert healthcheck.main() == 1
    assert "timed out" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["PORT", "LISTEN_PORT"])
def test_a_server_that_is_not_there_is_unhealthy(listener, monkeypatch, capsys, name):
    port = listener.getsockname()[1]
    listener.close()
    monkeypatch.setenv("PORT", " ")
    monkeypatch.setenv(name, f" {port} ")
    assert healthcheck.main() == 1
    assert capsys.readouterr().out.startswith(f"unhealthy: port {port}: ")
