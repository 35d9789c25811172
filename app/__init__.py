"""The sample application: a CRUD API over items in memory and in DynamoDB."""

from __future__ import annotations

import functools
import json

from flask import Flask, Response, request

from . import cors, docs, problems
from .background import BackgroundJob
from .cognito import NoUserPool, Verifier
from .collection import create_collection
from .openapi import describe
from .settings import Settings
from .stores import Store
from .stores.dynamodb import DynamoStore, NoTable
from .stores.dynamodb_client import DynamoClient
from .stores.memory import MemoryStore

INDEX = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Flask CRUD API</title>
<link rel="icon" href="docs/favicon-32x32.png">
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
    # Flask asks at each call of a function whether it is a coroutine; bounded, since some live for one request only
    app.ensure_sync = functools.lru_cache(app.ensure_sync)  # type: ignore[method-assign]
    # no route here is another one with a default left out
    app.url_map.redirect_defaults = False
    # repeated slashes are no redirect: it would be as long as the client likes
    app.url_map.merge_slashes = False
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_size
    problems.init_app(app)
    cors.init_app(app, settings.cors_origins)

    memory = MemoryStore(settings.item_store_directory, settings.item_store_size)
    jobs: list[BackgroundJob] = []
    table, verifier = _table(settings, jobs), _verifier(settings, jobs)
    app.register_blueprint(create_collection("/item", memory, owner=lambda: "SYSTEM"))
    app.register_blueprint(create_collection("/db-item", table, owner=lambda: "SYSTEM"))
    app.register_blueprint(
        create_collection(
            "/authenticated-item", table, owner=lambda: verifier.verify(request.headers.get("Authorization"))
        )
    )

    app.register_blueprint(docs.blueprint)

    @app.get("/ping")
    def ping() -> Response:
        # health checks come first: what later requests would have to wait for is begun now, unless it has been
        for job in jobs:
            job.begin()
        return Response("pong\n", content_type="text/plain; charset=utf-8")

    description = json.dumps(describe())

    @app.get("/openapi.json")
    def openapi() -> Response:
        return Response(description, content_type="application/json")

    @app.get("/")
    def index() -> Response:
        return Response(INDEX, content_type="text/html; charset=utf-8")

    return app


def _table(settings: Settings, jobs: list[BackgroundJob]) -> Store:
    """The DynamoDB table, or what says that there is none; adds its background work to `jobs`."""
    if not settings.table_name:
        return NoTable()
    client = DynamoClient(settings.table_name, settings.aws_region or None, settings.dynamodb_endpoint or None)
    jobs.append(client.job)
    return DynamoStore(client)


def _verifier(settings: Settings, jobs: list[BackgroundJob]) -> Verifier | NoUserPool:
    """What accepts the user pool's tokens, or says that there is none; adds its background work to `jobs`."""
    pool, clients = settings.cognito_user_pool_id, settings.cognito_client_ids
    missing = {"COGNITO_USER_POOL_ID": pool, "COGNITO_CLIENT_ID": clients}
    if not all(missing.values()):
        return NoUserPool([name for name, value in missing.items() if not value])
    verifier = Verifier(pool, clients, settings.cognito_scope, settings.cognito_keys_url)
    jobs.append(verifier.keys.job)
    return verifier
