"""A collection of items over HTTP: PUT creates, GET reads, POST updates, DELETE deletes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from wsgiref.types import WSGIEnvironment

from flask import Blueprint, Response, request
from werkzeug.datastructures import Headers

from . import payload
from .payload import Preconditions
from .problems import Problem, problem_response
from .stores import ConditionFailed, Item, NotFound, Store, StoreFull, StoreTimeout, StoreUnavailable, new_version

_encode = json.JSONEncoder(ensure_ascii=False).encode


def create_collection(path: str, store: Store, owner: Callable[[], str]) -> Blueprint:
    """A blueprint that serves `store` under `path` (such as "/item"), to the owner that `owner()` returns.

    `owner` is called once a request, before anything else of it is looked at; it raises Problem to refuse.
    """
    blueprint = Blueprint(path.strip("/"), __name__)

    def route(method: str) -> Callable[[Callable[[str | None], Response]], None]:
        def add(view: Callable[[str | None], Response]) -> None:
            blueprint.add_url_rule(path, method, view, methods=[method], defaults={"id": None})
            blueprint.add_url_rule(f"{path}/<id>", method, view, methods=[method])

        return add

    @route("PUT")
    def create(id: str | None) -> Response:
        user = owner()
        fields, body_id = payload.read_fields(request)
        named = payload.read_id(id, *_query().get("id", []), body_id)
        payload.require_fields(fields)
        preconditions = Preconditions(request)
        item = Item(named or store.new_id(), fields["title"], fields["content"], new_version())
        if preconditions.if_match is None:
            stored = store.create(user, item)
        else:
            # PUT never changes an item, so what must match is read, not written
            found = store.read(user, item.id)
            if found is None or not preconditions.matches(found):
                raise _precondition_failed()
            stored = found
        if stored.version == item.version:
            return _item_response(item, 201, {"Location": f"{path}/{item.id}"})
        if preconditions.excludes(stored):
            raise _precondition_failed()
        if (stored.title, stored.content) != (item.title, item.content):
            raise Problem(409, f"Another item has the id {item.id}. POST updates it; leave the id out for a new one.")
        return _item_response(stored)

    @route("GET")
    def read(id: str | None) -> Response:
        user = owner()
        query = _query()
        wanted = payload.read_id(id, *query.get("id", []))
        limit = payload.read_limit(query.get("limit", []))
        after = payload.read_cursor(query.get("cursor", []))
        preconditions = Preconditions(request)
        if wanted is None:
            return page(user, limit, after)
        item = store.read(user, wanted)
        if item is None:
            raise NotFound
        if not preconditions.matches(item):
            raise _precondition_failed()
        if preconditions.excludes(item):
            return Response(status=304, headers={"ETag": _entity_tag(item)})
        return _item_response(item)

    def page(user: str, limit: int, after: str | None) -> Response:
        found = store.page(user, limit, after)
        document = {"items": [_document(item) for item in found.items], "next": payload.write_cursor(found.next)}
        return _json_response(document)

    @route("POST")
    def update(id: str | None) -> Response:
        user = owner()
        fields, body_id = payload.read_fields(request)
        wanted = payload.require_id(payload.read_id(id, *_query().get("id", []), body_id))
        return _item_response(store.update(user, wanted, fields, Preconditions(request).for_existing()))

    @route("DELETE")
    def delete(id: str | None) -> Response:
        user = owner()
        # a chunked body has no length before it is read
        body_id = payload.read_fields(request)[1] if request.content_length or request.get_data() else None
        wanted = payload.require_id(payload.read_id(id, *_query().get("id", []), body_id))
        store.delete(user, wanted, Preconditions(request).for_existing())
        return Response(status=204)

    for error in (NotFound, ConditionFailed, StoreFull, StoreUnavailable, StoreTimeout):
        blueprint.register_error_handler(error, lambda raised: problem_response(_problem_of(raised)))
    return blueprint


def _query() -> dict[str, list[str]]:
    return dict(request.args.lists()) if request.environ.get("QUERY_STRING") else {}


def _problem_of(error: Exception) -> Problem:
    """What a client is told of a store's exception."""
    match error:
        case NotFound():
            return Problem(404, "There is no item with this id.")
        case ConditionFailed():
            return _precondition_failed()
        case StoreFull():
            return Problem(507, "The store is full; nothing was changed. Delete items, then try again.")
        case StoreUnavailable(retry_after=seconds):
            return Problem(503, str(error), headers={"Retry-After": str(seconds)} if seconds else None)
        case _:
            return Problem(
                504, "The database did not answer in time. A write may have happened: read before you retry."
            )


def _precondition_failed() -> Problem:
    return Problem(412, "The item is not in the version that If-Match or If-None-Match asks for. Read it again.")


def _document(item: Item) -> dict[str, str]:
    return {"id": item.id, "title": item.title, "content": item.content}


def _entity_tag(item: Item) -> str:
    return f'"{item.version}"'


def _item_response(item: Item, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return _json_response(_document(item), status, {"ETag": _entity_tag(item), **(headers or {})})


class _JsonResponse(Response):
    """Has headers and a body that are sent as they are.

    Werkzeug would take a Location apart and put it together again, a tenth of a PUT, and wrap a body in two iterators.
    """

    def get_wsgi_headers(self, environ: WSGIEnvironment) -> Headers:
        return self.headers

    def get_app_iter(self, environ: WSGIEnvironment) -> Iterable[bytes]:
        has_body = self.status_code in (200, 201) and environ["REQUEST_METHOD"] != "HEAD"
        # unless a hook has put an iterator in its place, or has something done at its end
        if has_body and self.is_sequence and not self._on_close:
            return self.response  # type: ignore[return-value]
        return super().get_app_iter(environ)


def _json_response(document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    response = _JsonResponse(_encode(document).encode() + b"\n", status, content_type="application/json")
    for name, value in (headers or {}).items():
        response.headers.add(name, value)
    return response
