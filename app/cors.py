"""Which origins browsers may call the API from (the Fetch standard's CORS protocol), never with credentials."""

from __future__ import annotations

from flask import Flask, Response, request

EXPOSED = "ETag, Location, X-Request-Id, Retry-After"
METHODS = "GET, HEAD, PUT, POST, DELETE"
# browsers ask for far less, and Nginx accepts no answer whose headers are longer than 8 KiB
REQUEST_HEADERS_LENGTH = 1024
MAX_AGE = "600"


def init_app(app: Flask, origins: list[str]) -> None:
    """Let `origins` call, or any where one of them is `*`."""
    anybody = "*" in origins

    @app.after_request
    def add_cors_headers(response: Response) -> Response:
        headers = response.headers
        if anybody:
            allowed = "*"
        else:
            # a cache must not give one origin the answer that another got
            headers.add("Vary", "Origin")
            allowed = request.environ.get("HTTP_ORIGIN", "")
            if allowed not in origins:
                return response
        headers["Access-Control-Allow-Origin"] = allowed
        if "HTTP_ORIGIN" in request.environ:
            headers["Access-Control-Expose-Headers"] = EXPOSED
            if request.method == "OPTIONS":
                headers["Access-Control-Allow-Methods"] = METHODS
                asked_for = request.headers.get("Access-Control-Request-Headers", "")
                headers["Access-Control-Allow-Headers"] = asked_for[:REQUEST_HEADERS_LENGTH]
                headers["Access-Control-Max-Age"] = MAX_AGE
        return response
