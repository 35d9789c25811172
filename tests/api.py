"""One way to call the API, whether it is a Flask test client or a server on a port."""

from __future__ import annotations

import json as jsonlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import requests
from flask import Flask

UNSET = object()


@dataclass(frozen=True)
class Answer:
    """A response; header names are compared without regard to case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return jsonlib.loads(self.body)

    @property
    def etag(self) -> str:
        return self.headers["ETag"]


class Api:
    """Calls the API with the given headers added to every request."""

    def __init__(
        self, send: Callable[[str, str, bytes | None, dict[str, str]], Answer], headers: dict[str, str] | None = None
    ) -> None:
        self._send = send
        self.headers = headers or {}

    def __call__(
        self,
        method: str,
        path: str,
        json: Any = UNSET,
        *,
        body: bytes | str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        sent = dict(self.headers)
        if json is not UNSET:
            body = jsonlib.dumps(json)
            sent["Content-Type"] = "application/json"
        return self._send(method, path, body.encode() if isinstance(body, str) else body, sent | (headers or {}))

    def with_headers(self, **headers: str) -> Api:
        return Api(self._send, self.headers | headers)


def app_api(app: Flask) -> Api:
    """Calls an application in this process."""

    def send(method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        response = app.test_client().open(path, method=method, data=body, headers=headers)
        return Answer(response.status_code, response.headers, response.data)

    return Api(send)


def http_api(base: str) -> Api:
    """Calls a server; every thread has a connection of its own, kept alive."""
    local = threading.local()

    def send(method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        if not hasattr(local, "session"):
            local.session = requests.Session()
            local.session.trust_env = False
        response = local.session.request(method, base + path, data=body, headers=headers, timeout=60)
        return Answer(response.status_code, response.headers, response.content)

    return Api(send)
