"""The sample application: a CRUD API over items in memory and in DynamoDB."""

from __future__ import annotations

from flask import Flask, Response
from flask_cors import CORS

from . import problems
from .collection import create_collection
from .settings import Settings
from .stores.memory import MemoryStore

INDEX = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Flask CRUD API</title>
<h1>Flask CRUD API</h1>
<p>A sample API behind Nginx and Gunicorn: PUT creates an item, GET reads, POST updates, DELETE deletes.</p>
<ul>
<li><a href="docs">Read it and try it</a>
<li><a href="openapi.json">OpenAPI description</a>
<li><a href="item">Items in memory</a>
</ul>
"""


def create_app(settings: Settings | None = None) -> Flask:
    """The WSGI application; its settings come from the environment unless they are given.

    Raises SettingError when the environment has a value that cannot be used.
    """
    settings = settings or Settings.from_environment()
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_size
    problems.init_app(app)
    exposed = ["ETag", "Location", "X-Request-Id"]
    CORS(app, origins=settings.cors_origins, send_wildcard=True, expose_headers=exposed, max_age=600)

    memory = MemoryStore(settings.item_store_directory, settings.item_store_size)
    app.register_blueprint(create_collection("/item", memory, owner=lambda: "SYSTEM"))

    @app.get("/ping")
    def ping() -> Response:
        return Response("pong\n", content_type="text/plain; charset=utf-8")

    @app.get("/")
    def index() -> Response:
        return Response(INDEX, content_type="text/html; charset=utf-8")

    return app
