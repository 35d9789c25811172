"""The environment: what every variable may be, and what is said of a value that it may not be."""

from __future__ import annotations

import pytest

from entrypoint.environment import Environment, SettingError
from entrypoint.limits import MIB, Limits
from entrypoint.settings import Settings


def settings(**variables):
    return Settings.from_environment(variables, Limits(2, 512 * MIB))


USABLE = [
    ({}, "port", 80),
    ({"PORT": "8080"}, "port", 8080),
    ({"PORT": " 8080 "}, "port", 8080),
    ({"PORT": "", "LISTEN_PORT": "8080"}, "port", 8080),
    ({"PORT": "8080", "LISTEN_PORT": "9090"}, "port", 8080),
    ({"APP_MODULE": "my_project.wsgi"}, "app_module", "my_project.wsgi"),
    ({"APP_MODULE": "app:create_app()"}, "app_module", "app:create_app()"),
    ({"APP_MODULE": "app:create_app('production')"}, "app_module", "app:create_app('production')"),
    ({}, "preload_app", "1"),
    ({"PRELOAD_APP": " 0 "}, "preload_app", "0"),
    ({}, "run_dir", "/dev/shm/app"),
    ({}, "max_body_size", 1024**2),
    ({"MAX_BODY_SIZE": "512k"}, "max_body_size", 512 * 1024),
    ({"MAX_BODY_SIZE": "2G"}, "max_body_size", 2 * 1024**3),
    ({"MAX_BODY_SIZE": "2048"}, "max_body_size", 2048),
    ({"NGINX_MAX_UPLOAD": "3m"}, "max_body_size", 3 * 1024**2),
    ({}, "trusted_proxies", []),
    ({"TRUSTED_PROXIES": "10.0.0.0/16, 192.0.2.1,2001:db8::/32"}, "trusted_proxies", ["10.0.0.0/16", "192.0.2.1/32", "2001:db8::/32"]),
    ({"RATE_LIMIT": "100"}, "rate_limit", 100),
    ({}, "cors_origins", ["*"]),
    ({"CORS_ORIGINS": "https://a.example, http://[::1]:8080"}, "cors_origins", ["https://a.example", "http://[::1]:8080"]),
    ({"CORS_ORIGINS": "https://a.example:80 http://b.example:4430"}, "cors_origins", ["https://a.example:80", "http://b.example:4430"]),
    ({"LOG_LEVEL": "WARNING"}, "log_level", "warning"),
    ({}, "nginx_workers", 2),
    ({"NGINX_WORKER_PROCESSES": "1"}, "nginx_workers", 1),
    ({}, "drain_seconds", 5),
    ({"DRAIN_SECONDS": "0"}, "drain_seconds", 0),
]  # fmt: skip


@pytest.mark.parametrize(("variables", "name", "value"), USABLE)
def test_a_value_that_can_be_used(variables, name, value):
    assert getattr(settings(**variables), name) == value


UNUSABLE = [
    ("PORT", "eighty"),
    ("PORT", "0"),
    ("PORT", "65536"),
    ("PORT", "80.0"),
    ("PORT", "-1"),
    ("PORT", "8" * 30),
    # a digit, but not one that int() and Nginx read alike
    ("PORT", "８０"),
    ("LISTEN_PORT", "x"),
    ("LISTEN_PORT", "0"),
    ("APP_MODULE", "a b"),
    ("APP_MODULE", "app:app; import os"),
    ("APP_MODULE", "../app"),
    ("PRELOAD_APP", "false"),
    ("PRELOAD_APP", "no"),
    ("PRELOAD_APP", "off"),
    ("PRELOAD_APP", "True"),
    ("PRELOAD_APP", "2"),
    ("RUN_DIR", "run"),
    ("RUN_DIR", "/dev/shm/a;b"),
    ("RUN_DIR", "/" + "x" * 100),
    ("WEB_CONCURRENCY", "0"),
    ("WEB_CONCURRENCY", "257"),
    ("WEB_CONCURRENCY", "auto"),
    ("GUNICORN_CMD_ARGS", "--workers 0"),
    ("GUNICORN_CMD_ARGS", "-w -1"),
    ("GUNICORN_CMD_ARGS", "--threads=0 --timeout 5"),
    ("GUNICORN_CMD_ARGS", "-c other.py"),
    ("MAX_BODY_SIZE", "1 MB"),
    ("MAX_BODY_SIZE", "0"),
    ("MAX_BODY_SIZE", "1t"),
    ("NGINX_MAX_UPLOAD", "large"),
    ("NGINX_MAX_UPLOAD", "0"),
    ("TRUSTED_PROXIES", "10.0.0.1/8"),
    ("TRUSTED_PROXIES", "10.0.0.0/33"),
    ("TRUSTED_PROXIES", "loadbalancer"),
    ("RATE_LIMIT", "10r/s"),
    ("CONNECTIONS_PER_IP", "65536"),
    ("CORS_ORIGINS", "example.com"),
    ("CORS_ORIGINS", "https://Example.com"),
    ("CORS_ORIGINS", "https://example.com:443"),
    ("CORS_ORIGINS", "http://example.com:80"),
    ("CORS_ORIGINS", "https://example.com/path"),
    ("CORS_ORIGINS", 'https://example.com";'),
    ("LOG_LEVEL", "loud"),
    ("NGINX_WORKER_PROCESSES", "auto"),
    ("DRAIN_SECONDS", "61"),
    ("STATIC_PATH", "static"),
    ("STATIC_URL", "/static/"),
]


@pytest.mark.parametrize(("name", "value"), UNUSABLE)
def test_a_value_that_cannot_be_used_is_named(name, value):
    with pytest.raises(SettingError) as error:
        settings(**{name: value})
    message = str(error.value)
    assert message.startswith(f"{name}={value!r} cannot be used; allowed: ")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("RUN_DIR", "/dev/shm/a b", "letters, digits"),
        ("RUN_DIR", "/" + "x" * 80, "at most 80 letters"),
        ("STATIC_PATH", "/app/a b", "letters, digits"),
    ],
)
def test_what_is_allowed_tells_what_is_wrong_with_a_path(name, value, allowed):
    with pytest.raises(SettingError, match=f"allowed: .*{allowed}"):
        settings(**{name: value})


@pytest.mark.parametrize("name", sorted({name for name, _ in UNUSABLE}))
def test_an_empty_value_is_none(name):
    assert settings(**{name: ""}) == settings(**{name: "  "}) == settings()


def test_words_are_separated_by_commas_or_spaces():
    environment = Environment({"WORDS": " a,b  c, d,"})
    assert environment.words("WORDS", default="", pattern="[a-d]", allowed="letters") == ["a", "b", "c", "d"]
