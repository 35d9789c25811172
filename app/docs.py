"""GET /docs: Swagger UI, which reads /openapi.json. All comes from this host; the page may load nothing else."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from flask import Blueprint, Response, redirect, request, send_from_directory, url_for
from werkzeug.wrappers import Response as WerkzeugResponse

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Flask CRUD API</title>
<link rel="icon" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
"""
START = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true});\n'
# icons are data: addresses in Swagger UI's style sheet
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

blueprint = Blueprint("docs", __name__)


def _assets() -> Path:
    """Where flask-swagger-ui keeps Swagger UI; it need not be imported for that."""
    spec = importlib.util.find_spec("flask_swagger_ui")
    if not spec or not spec.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'flask_swagger_ui'", name="flask_swagger_ui")
    return Path(spec.submodule_search_locations[0]) / "dist"


ASSETS = _assets()


@blueprint.get("/docs")
def docs() -> Response:
    headers = {"Content-Security-Policy": POLICY}
    return Response(PAGE, headers=headers, content_type="text/html; charset=utf-8")


@blueprint.get("/docs/start.js")
def start() -> Response:
    return Response(START, content_type="text/javascript; charset=utf-8")


@blueprint.get("/docs/<path:name>")
def asset(name: str) -> Response:
    file = send_from_directory(ASSETS, name, conditional=False)
    # Werkzeug itself would also look at If-Match and ranges, and its answer to those is no problem document
    if not request.if_none_match.contains_weak(file.get_etag()[0] or ""):
        return file
    file.close()
    return Response(status=304, headers={"ETag": file.headers["ETag"], "Cache-Control": file.headers["Cache-Control"]})


@blueprint.get("/docs/")
def without_slash() -> WerkzeugResponse:
    return redirect(url_for("docs.docs"), 308)
