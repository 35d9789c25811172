"""What the application is told of the client: what Nginx knows, and from proxies in TRUSTED_PROXIES what they say."""

from __future__ import annotations

import json
import re
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.proxy.raw import ask, request
from tests.proxy.upstreams import nginx_alone
from tests.running import stack

FORGED = {
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil",
    "X-Forwarded-Port": "666",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Ssl": "on",
    "X-Forwarded-Protocol": "ssl",
    "X-Forwarded-Scheme": "https",
    "X-Forwarded-Server": "evil",
    "X-Scheme": "https",
    "X-Script-Name": "/evil",
    "Forwarded": "for=6.6.6.6;proto=https;host=evil",
    "X-Real-IP": "6.6.6.6",
    "X-Request-Id": "6" * 32,
    "X-Request-Start": "t=1",
    "Proxy": "http://evil",
    # these Nginx does not pass on by itself
    "TE": "trailers",
    "Expect": "the-unexpected",
    "Upgrade": "h2c",
    "X_Forwarded_For": "6.6.6.6",
    "X_Real_IP": "6.6.6.6",
    "X_Forwarded_Proto": "https",
    "SCRIPT_NAME": "/evil",
    "PATH_INFO": "/evil",
    "REMOTE_ADDR": "6.6.6.6",
    "REMOTE_USER": "root",
    "HTTPS": "on",
}
# by the end of the name, as a WSGI application sees them
SET_BY_NGINX = {
    "host",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-request-id",
    "x-request-start",
}


@pytest.fixture(scope="module")
def behind_a_proxy(project):
    """Proxies at 127.0.0.1 and in 127.0.2.0/24 are trusted; a client at another address of loopback is not."""
    with stack(project, APP_MODULE="shown:app", TRUSTED_PROXIES="127.0.0.1, 127.0.2.0/24,::1") as running:
        yield running


def seen(port: int, *headers: str, source: str = "", target: str = "/seen", host: str = "localhost") -> dict:
    response = ask(port, request("GET", target, *headers, host=host), source=source)
    assert response.status == 200, response
    return response.json | {"id": response.get("x-request-id")}


def lines(headers: dict[str, str]) -> list[str]:
    return [f"{name}: {value}" for name, value in headers.items()]


@pytest.mark.parametrize("trusting", [False, True])
def test_a_client_can_forge_nothing(shown, behind_a_proxy, trusting):
    port = (behind_a_proxy if trusting else shown).port
    told = seen(port, *lines(FORGED), source="127.0.3.1")
    assert (told["address"], told["scheme"], told["url"]) == ("127.0.3.1", "http", "http://localhost/seen")
    headers = told["headers"]
    assert {name for name, _ in headers} <= SET_BY_NGINX | {"x-real-ip", "https"}
    assert not [value for _, value in headers if "evil" in value or "6.6.6.6" in value]
    assert dict(headers)["x-forwarded-for"] == dict(headers)["x-real-ip"] == "127.0.3.1"
    assert dict(headers)["x-forwarded-proto"] == "http"
    assert dict(headers)["x-request-id"] == told["id"] != "6" * 32
    assert len(headers) == len({name for name, _ in headers})


def test_names_with_underscores_do_not_reach_gunicorn():
    """It drops them itself, unless it is told otherwise."""
    with nginx_alone() as nginx:
        ask(nginx.port, request("GET", "/seen", *lines(FORGED)))
        head = nginx.recorder.requests[0].split(b"\r\n\r\n")[0].decode().lower()
    assert {line.split(":")[0] for line in head.split("\r\n")[1:]} == SET_BY_NGINX | {"https"}


@pytest.mark.parametrize("name", FORGED)
@pytest.mark.parametrize("trusting", [False, True])
def test_no_header_alone_is_refused_or_believed(shown, behind_a_proxy, name, trusting):
    """A client's `X-Forwarded-Ssl: on` beside Nginx's own `X-Forwarded-Proto: http` is a 400 of Gunicorn's otherwise."""
    port = (behind_a_proxy if trusting else shown).port
    told = seen(port, f"{name}: {FORGED[name]}", source="127.0.3.1")
    assert (told["address"], told["scheme"], told["root"]) == ("127.0.3.1", "http", "http://localhost/")


FORWARDED_FOR = {
    "one address": (["X-Forwarded-For: 1.1.1.1"], "1.1.1.1"),
    "the last one is the balancer's": (["X-Forwarded-For: 6.6.6.6, 1.1.1.1"], "1.1.1.1"),
    "without blanks": (["X-Forwarded-For: 6.6.6.6,1.1.1.1"], "1.1.1.1"),
    "a trusted one at the end does not make the next one count": (["X-Forwarded-For: 6.6.6.6, 127.0.2.9"], "127.0.2.9"),
    "two headers": (["X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 1.1.1.1"], "1.1.1.1"),
    "with a port": (["X-Forwarded-For: 1.1.1.1:1234"], "1.1.1.1"),
    "IPv6": (["X-Forwarded-For: 2001:db8::1"], "2001:db8::1"),
    "IPv6 with a port": (["X-Forwarded-For: [2001:db8::1]:1234"], "2001:db8::1"),
    "no address": (["X-Forwarded-For: unknown"], "127.0.0.1"),
    "a name": (["X-Forwarded-For: evil.example"], "127.0.0.1"),
    "junk behind an address": (["X-Forwarded-For: 6.6.6.6, <script>"], "127.0.0.1"),
    "empty": (["X-Forwarded-For:"], "127.0.0.1"),
    "none": ([], "127.0.0.1"),
    "another header": (["X-Real-IP: 6.6.6.6", "Forwarded: for=6.6.6.6"], "127.0.0.1"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORWARDED_FOR)
def test_a_trusted_proxy_names_the_client(behind_a_proxy, name):
    headers, address = FORWARDED_FOR[name]
    told = seen(behind_a_proxy.port, *headers)
    assert told["address"] == address
    assert dict(told["headers"])["x-forwarded-for"] == dict(told["headers"])["x-real-ip"] == address


FORWARDED_PROTO = {
    "https": (["X-Forwarded-Proto: https"], "https"),
    "http": (["X-Forwarded-Proto: http"], "http"),
    "HTTPS": (["X-Forwarded-Proto: HTTPS"], "https"),
    "something else": (["X-Forwarded-Proto: javascript"], "http"),
    "a list": (["X-Forwarded-Proto: https, http"], "http"),
    "empty": (["X-Forwarded-Proto:"], "http"),
    "none": ([], "http"),
    "another header": (["X-Forwarded-Ssl: on", "X-Forwarded-Protocol: ssl", "Forwarded: proto=https"], "http"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORWARDED_PROTO)
def test_a_trusted_proxy_names_the_scheme(behind_a_proxy, name):
    headers, scheme = FORWARDED_PROTO[name]
    told = seen(behind_a_proxy.port, *headers)
    assert (told["scheme"], told["url"]) == (scheme, f"{scheme}://localhost/seen")
    assert dict(told["headers"])["x-forwarded-proto"] == scheme


def test_each_trusted_network_is(behind_a_proxy):
    headers = ["X-Forwarded-For: 1.1.1.1", "X-Forwarded-Proto: https"]
    told = seen(behind_a_proxy.port, *headers, source="127.0.2.77")
    assert (told["address"], told["scheme"]) == ("1.1.1.1", "https")
    told = seen(behind_a_proxy.port, *headers, source="127.0.1.77")
    assert (told["address"], told["scheme"]) == ("127.0.1.77", "http")


def test_ipv6_is_served_and_trusted_as_well(shown, behind_a_proxy):
    if not re.search(r" lo$", Path("/proc/net/if_inet6").read_text(), re.M):
        pytest.skip("this machine has no IPv6")
    headers = {"X-Forwarded-For": "1.1.1.1"}
    for port, address in ((shown.port, "::1"), (behind_a_proxy.port, "1.1.1.1")):
        connection = HTTPConnection("::1", port, timeout=10)
        connection.request("GET", "/seen", headers=headers)
        assert json.loads(connection.getresponse().read())["address"] == address
        connection.close()


@pytest.mark.parametrize("value", ["0.0.0.0/0,::/0", "10.0.0.0/8 10.0.0.0/8 10.1.0.0/16"])
def test_any_list_of_networks_starts(project, value):
    """All addresses; networks twice and within each other."""
    with stack(project, APP_MODULE="shown:app", TRUSTED_PROXIES=value) as running:
        assert seen(running.port)["address"] == "127.0.0.1"


HOSTS = {"example.com": "example.com", "Example.com:8080": "example.com:8080", "[::1]:8080": "[::1]:8080"}


@pytest.mark.parametrize("host", HOSTS)
def test_the_host_is_the_client_s_with_its_port(shown, host):
    """Absolute addresses that the application makes lead back to where the client is."""
    assert seen(shown.port, host=host)["url"] == f"http://{HOSTS[host]}/seen"


def test_of_two_hosts_the_request_line_s_counts(shown):
    told = seen(shown.port, target="http://named:81/seen", host="other:82")
    assert told["url"] == "http://named/seen"


def test_the_trace_of_the_balancer_is_passed_on(shown):
    trace = "Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=1"
    told = seen(shown.port, f"X-Amzn-Trace-Id: {trace}")
    assert dict(told["headers"])["x-amzn-trace-id"] == trace


def test_what_a_request_leaves_in_its_environment_is_gone(shown):
    """Gunicorn begins each with a copy of what is the same for all."""
    answers = [ask(shown.port, request("GET", f"/remember?what={n}")).body.decode() for n in range(50)]
    assert answers == [str(n) for n in range(50)]
