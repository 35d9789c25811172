"""The parts that the operations of the OpenAPI description share: schemas, parameters, headers and problems."""

from __future__ import annotations

from typing import Any

from .payload import CONTENT_LENGTH, ID, PAGE_DEFAULT, PAGE_MAXIMUM, TITLE_LENGTH
from .problems import status_title

Json = dict[str, Any]

_UUID = f"^{ID.pattern}$"
_CURSOR = "^[A-Za-z0-9_-]{21}[AQgw]$"
_ENTITY_TAG = '(W/)?"[!#-~]*"'
_EXAMPLE_ID = "3f2b8c1e-5d64-4d2a-9f0e-6a1b2c3d4e5f"
_EXAMPLE_TAG = '"676445951905296037"'
EXAMPLE_ITEM = {"id": _EXAMPLE_ID, "title": "my title", "content": "my content"}

# what each status stands for
PROBLEMS = {
    400: "The request, its JSON, an id, a cursor or a condition is malformed.",
    401: "There is no access token, or it is not valid here.",
    403: "The access token lacks the scope that is asked for.",
    404: "There is no item with this id.",
    408: "The request did not arrive in time.",
    409: "Another item has this id.",
    412: "The item is not in the version that If-Match or If-None-Match asks for.",
    413: "The body is too large.",
    414: "The request line is too long.",
    415: "The body is not declared as JSON in UTF-8.",
    422: "The body is JSON, but not an item.",
    429: "Too many requests or connections from this address.",
    431: "A header field is too long, or there are too many.",
    500: "An unexpected error happened; it has been logged with this request_id.",
    502: "The application ended the connection; a request that changes something may have been done.",
    503: "The request cannot be answered now; `detail` says what to do.",
    504: "The answer did not come in time; a write may have happened.",
    507: "The store is full; nothing was changed.",
}


def components() -> Json:
    """The `components` of the description."""
    token = {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "An access token of the Amazon Cognito user pool.",
    }
    return {
        "schemas": _schemas(),
        "parameters": _parameters(),
        "headers": _headers(),
        "responses": {f"Problem{status}": _problem(status) for status in PROBLEMS},
        "securitySchemes": {"accessToken": token},
    }


def _schemas() -> Json:
    id = {"type": "string", "format": "uuid", "pattern": _UUID, "examples": [_EXAMPLE_ID]}
    title = {"type": "string", "minLength": 1, "maxLength": TITLE_LENGTH, "examples": ["my title"]}
    content = {"type": "string", "maxLength": CONTENT_LENGTH, "examples": ["my content"]}

    def item(required: list[str], **properties: Json) -> Json:
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    error: Json = {"type": "object", "required": ["pointer", "detail"]}
    error["properties"] = {"pointer": {"type": "string", "format": "json-pointer"}, "detail": {"type": "string"}}
    return {
        "Item": item(["id", "title", "content"], id=id, title=title, content=content),
        "NewItem": item(["title", "content"], id=id, title=title, content=content),
        "NewItemWithId": item(["title", "content"], title=title, content=content),
        "Changes": item([], title=title, content=content),
        "NamedChanges": item(["id"], id=id, title=title, content=content),
        "ItemPage": item(
            ["items", "next"],
            items={"type": "array", "items": schema("Item"), "maxItems": PAGE_MAXIMUM},
            next={"type": ["string", "null"], "pattern": _CURSOR, "description": "The cursor of the next page."},
        ),
        "Problem": {
            "type": "object",
            "required": ["type", "title", "status", "detail", "request_id"],
            "properties": {
                "type": {"type": "string", "format": "uri-reference"},
                "title": {"type": "string"},
                "status": {"type": "integer", "minimum": 400, "maximum": 599},
                "detail": {"type": "string"},
                "request_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
                "errors": {"type": "array", "items": error, "minItems": 1},
            },
        },
    }


def _parameters() -> Json:
    def parameter(name: str, place: str, values: Json, description: str, required: bool = False) -> Json:
        return {"name": name, "in": place, "required": required, "schema": values, "description": description}

    uuid = {"type": "string", "format": "uuid", "pattern": _UUID}
    tags = {
        "type": "string",
        "anyOf": [{"const": "*"}, {"pattern": f"^{_ENTITY_TAG}(, ?{_ENTITY_TAG})*$"}],
        "examples": [_EXAMPLE_TAG, "*"],
    }
    limit = {"type": "integer", "minimum": 1, "maximum": PAGE_MAXIMUM, "default": PAGE_DEFAULT}
    return {
        "Id": parameter("id", "path", uuid, "The item's id.", required=True),
        "QueryId": parameter("id", "query", uuid, "The id of one item to read."),
        "RequiredQueryId": parameter("id", "query", uuid, "The item's id.", required=True),
        "Limit": parameter("limit", "query", limit, "How many items a page has at most."),
        "Cursor": parameter("cursor", "query", {"type": "string", "pattern": _CURSOR}, "`next` of the page before."),
        "IfMatch": parameter("If-Match", "header", tags, "Go ahead only for these versions (RFC 9110 §13.1.1)."),
        "IfNoneMatch": parameter("If-None-Match", "header", tags, "Go ahead only for other versions (§13.1.2)."),
    }


def _headers() -> Json:
    def header(pattern: str, description: str, example: str, required: bool = True) -> Json:
        text = {"type": "string", "pattern": pattern}
        return {"description": description, "required": required, "schema": text, "example": example}

    tag = ('^"[0-9]{1,19}"$', "The item's version, for If-Match and If-None-Match.", _EXAMPLE_TAG)
    return {
        "ETag": header(*tag),
        "ItemETag": header(*tag, required=False),
        "Location": header("^/[a-z-]*item/", "Where the item is.", f"/item/{_EXAMPLE_ID}"),
        "X-Request-Id": header("^[0-9a-f]{32}$", "The request's id in the logs.", "0123456789abcdef" * 2),
        "WWW-Authenticate": header("^Bearer", "What is wrong (RFC 6750).", 'Bearer error="invalid_token"'),
        "Retry-After": header(
            "^[0-9]+$", "After how many seconds to try again, where that helps.", "1", required=False
        ),
    }


def _problem(status: int) -> Json:
    detail = PROBLEMS[status]
    challenge, wait = ["WWW-Authenticate"], ["Retry-After"]
    headers = {401: challenge, 403: challenge, 429: wait, 502: wait, 503: wait}
    example: Json = {"type": "about:blank", "title": status_title(status), "status": status, "detail": detail}
    example["request_id"] = "0123456789abcdef" * 2
    if status == 422:
        example["errors"] = [{"pointer": "/title", "detail": "is required"}]
    content = {"application/problem+json": {"schema": schema("Problem"), "example": example}}
    return {"description": detail, "headers": with_headers(*headers.get(status, [])), "content": content}


def with_headers(*headers: str) -> Json:
    return {name.removeprefix("Item"): reference("headers", name) for name in (*headers, "X-Request-Id")}


def schema(name: str) -> Json:
    return reference("schemas", name)


def reference(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}
