"""The OpenAPI 3.1 description of the API: one description of a collection, for each of the three."""

from __future__ import annotations

from typing import Any

from .openapi_components import EXAMPLE_ITEM, Json, components, reference, schema, with_headers

# what any request may be answered, besides what its operation names
_ALWAYS = (400, 408, 413, 414, 429, 431, 500, 502, 503, 504)
_COLLECTIONS = (
    ("/item", "Item", "Items in memory. They live as long as the container."),
    ("/db-item", "DbItem", "Items in DynamoDB, the same for everybody."),
    ("/authenticated-item", "AuthenticatedItem", "Items in DynamoDB that only the user who created them sees."),
)
_DESCRIPTION = """\
PUT creates an item, GET reads, POST updates, DELETE deletes. The id may stand in the path, as `?id=`, or as `"id"` in \
the JSON body of PUT, POST and DELETE; where it stands more than once, it must be the same. Every error is a problem \
document (RFC 9457)."""


def describe() -> Json:
    """The whole description."""
    paths: Json = {}
    for path, name, about in _COLLECTIONS:
        paths |= _collection(path, name, about, secured=name == "AuthenticatedItem")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Flask CRUD API",
            "version": "1.0.0",
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths
        | {
            "/ping": _document("ping", "Ask whether Nginx, Gunicorn and the application answer", "text/plain"),
            "/": _document("index", "Read what this is", "text/html"),
            "/docs": _document("docs", "Read and try the API", "text/html"),
            "/openapi.json": _document("describe", "Read this description", "application/json"),
        },
        "components": components(),
    }


def _collection(path: str, name: str, about: str, secured: bool) -> Json:
    """The operations on a collection and on an item of it; `name` ends their ids."""
    id = "$response.body#/id"
    links: Json = {
        verb: {"operationId": f"{verb}{name}", "parameters": {"path.id": id}} for verb in ("read", "update", "delete")
    }
    links["updateByBody"] = {"operationId": f"update{name}ByBody", "requestBody": {"id": id}}
    links["deleteByQuery"] = {"operationId": f"delete{name}ByQuery", "parameters": {"query.id": id}}
    links["readByQuery"] = {"operationId": f"list{name}s", "parameters": {"query.id": id}}
    item = _item_answer("The item.")
    created = {
        "201": _item_answer("The item is created.", "Location") | {"links": links},
        "200": _item_answer("Exactly this item is already there."),
    }
    deleted = {"204": {"description": "The item is deleted.", "headers": with_headers()}}
    unmodified = {"304": {"description": "The item is as If-None-Match says.", "headers": with_headers("ETag")}}
    on_create, on_update, on_delete = (409, 412, 415, 422, 507), (404, 412, 415, 422, 507), (404, 412, 415, 422)
    conditions = ("IfMatch", "IfNoneMatch")

    def operation(
        id: str, summary: str, answers: Json, problems: tuple[int, ...], *parameters: str, **body: Any
    ) -> Json:
        return {
            "operationId": id,
            "tags": [path],
            "summary": summary,
            "parameters": [reference("parameters", parameter) for parameter in (*parameters, *conditions)],
            **body,
            "responses": answers | _problems(*problems, *((401, 403) if secured else ())),
            **({"security": [{"accessToken": []}]} if secured else {}),
        }

    return {
        path: {
            "description": about,
            "get": operation(
                f"list{name}s",
                "List the items, or read one",
                {"200": _page_answer()} | unmodified,
                (404, 412),
                "QueryId",
                "Limit",
                "Cursor",
            ),
            "put": operation(f"create{name}", "Create an item", created, on_create, **_body("NewItem")),
            "post": operation(
                f"update{name}ByBody",
                "Update the item that the body names",
                {"200": item},
                on_update,
                **_body("NamedChanges"),
            ),
            "delete": operation(f"delete{name}ByQuery", "Delete an item", deleted, on_delete, "RequiredQueryId"),
        },
        f"{path}/{{id}}": {
            "description": about,
            "get": operation(f"read{name}", "Read an item", {"200": item} | unmodified, (404, 412), "Id"),
            "put": operation(
                f"create{name}WithId",
                "Create an item with an id of your own; this may be repeated",
                created,
                on_create,
                "Id",
                **_body("NewItemWithId"),
            ),
            "post": operation(f"update{name}", "Update an item", {"200": item}, on_update, "Id", **_body("Changes")),
            "delete": operation(f"delete{name}", "Delete an item", deleted, on_delete, "Id"),
        },
    }


def _document(id: str, summary: str, media_type: str) -> Json:
    """A path that has one document to read."""
    answer = {"description": "The document.", "headers": with_headers(), "content": {media_type: {}}}
    return {
        "get": {"operationId": id, "tags": ["about"], "summary": summary, "responses": {"200": answer} | _problems()}
    }


def _problems(*statuses: int) -> Json:
    return {str(status): reference("responses", f"Problem{status}") for status in sorted((*_ALWAYS, *statuses))}


def _item_answer(description: str, *headers: str) -> Json:
    content = {"application/json": {"schema": schema("Item"), "example": EXAMPLE_ITEM}}
    return {"description": description, "headers": with_headers("ETag", *headers), "content": content}


def _page_answer() -> Json:
    examples = {
        "page": {"value": {"items": [EXAMPLE_ITEM], "next": "Pyq-Hl1kTSqfDmobLD1OXw"}},
        "item": {"value": EXAMPLE_ITEM},
    }
    either = {"oneOf": [schema("ItemPage"), schema("Item")]}
    return {
        "description": "A page of the items; with `id`, that item.",
        "headers": with_headers("ItemETag"),
        "content": {"application/json": {"schema": either, "examples": examples}},
    }


def _body(name: str) -> Json:
    content = {"schema": schema(name)}
    if name == "NewItem":
        # without an id, so that it can be sent twice
        content["example"] = {"title": "my title", "content": "my content"}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}
