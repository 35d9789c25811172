"""Every error of the application as a problem document (RFC 9457)."""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[0-9a-f]{32}")
# RFC 9110 renamed these, and Python's table only in 3.13
_RENAMED = {413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"}


class Problem(Exception):
    """Ends the request with a problem document.

    `errors` lists what is wrong with the parts of a body: (JSON pointer, detail) pairs.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})


def request_id() -> str:
    """The id Nginx gave the request; without Nginx, one made here."""
    if "request_id" not in g:
        given = request.headers.get("X-Request-Id", "")
        g.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    return str(g.request_id)


def status_title(status: int) -> str:
    """What a status is called."""
    return _RENAMED.get(status) or HTTPStatus(status).phrase


def problem_response(problem: Problem) -> Response:
    """The response for a problem: status, headers and an application/problem+json body."""
    document: dict[str, object] = {
        "type": "about:blank",
        "title": status_title(problem.status),
        "status": problem.status,
        "detail": problem.detail,
        "request_id": request_id(),
    }
    if problem.errors:
        document["errors"] = [{"pointer": pointer, "detail": detail} for pointer, detail in problem.errors]
    return Response(
        json.dumps(document) + "\n", problem.status, problem.headers, content_type="application/problem+json"
    )


def init_app(app: Flask) -> None:
    """Answer every exception, of Flask's and of ours, with a problem."""

    @app.errorhandler(Problem)
    def problem_raised(problem: Problem) -> Response:
        return problem_response(problem)

    @app.errorhandler(HTTPException)
    def http_exception(error: HTTPException) -> Response:
        headers = {name: value for name, value in error.get_headers() if name != "Content-Type"}
        detail = error.description or ""
        if detail == NotFound.description:
            detail = f"Nothing is at {request.path}; {request.root_path}/openapi.json lists what there is."
        elif isinstance(error, MethodNotAllowed) and error.valid_methods:
            allowed = ", ".join(sorted(error.valid_methods))
            detail = f"{request.method} is not allowed at {request.path}; allowed: {allowed}."
        return problem_response(Problem(error.code or 500, detail, headers=headers))

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        log.exception("unexpected error", exc_info=error)
        return problem_response(Problem(500, "An unexpected error happened; it has been logged with this request_id."))

    @app.after_request
    def add_request_id(response: Response) -> Response:
        # behind Nginx, which always sets this header, Nginx adds the id
        if "HTTP_X_REQUEST_START" not in request.environ:
            response.headers["X-Request-Id"] = request_id()
        return response
