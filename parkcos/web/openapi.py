"""What programs can ask of a site, once for both: its routes, and the OpenAPI document that says so.

What is asked and answered are types that msgspec knows; the document has their schemas.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from parkcos.web.answers import encode, encoded

EVENTS = "text/event-stream"
"""An answer that does not end."""
Schemas = Mapping[str, Mapping[str, Any]]
"""Of parameters, by their names."""
_REF = "#/components/schemas/{name}"


class Refusal(msgspec.Struct):
    """Why not, and what to do."""

    error: str


@dataclass(frozen=True)
class Operation:
    """One request.

    Args:
        path: as routes are written: `/api/jars/{id}`.
        summary: a line for the document.
        answer: the type of the JSON that is answered; a text: its content type, if it is no JSON.
        body: the type of the JSON that must come with it.
        in_path, query: its parameters.
    """

    method: str
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    summary: str
    answer: Any
    body: type[Any] | None = None
    in_path: Schemas = field(default_factory=dict)
    query: Schemas = field(default_factory=dict)


def add_routes(app: web.Application, operations: Iterable[Operation]) -> None:
    """Serve them."""
    for each in operations:
        if each.method == "GET":
            app.router.add_get(each.path, each.handler, allow_head=each.answer != EVENTS)
        else:
            app.router.add_route(each.method, each.path, each.handler)


def document(title: str, version: str, operations: Iterable[Operation]) -> dict[str, Any]:
    """The OpenAPI document of these; its addresses are relative to the top of the site."""
    operations = list(operations)
    types = [each.answer for each in operations if not isinstance(each.answer, str)]
    types += [each.body for each in operations if each.body is not None]
    schemas, components = msgspec.json.schema_components([*types, Refusal], ref_template=_REF)
    schema_of = dict(zip([repr(each) for each in types], schemas, strict=False))
    paths: dict[str, dict[str, Any]] = {}
    for each in operations:
        written = re.sub(r"\{(\w+):[^}]*\}", r"{\1}", each.path)
        paths.setdefault(written, {})[each.method.lower()] = _described(each, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "servers": [{"url": "../"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _described(operation: Operation, schema_of: Mapping[str, Any]) -> dict[str, Any]:
    plain = isinstance(operation.answer, str)
    content = {operation.answer: {}} if plain else _json(schema_of[repr(operation.answer)])
    described: dict[str, Any] = {
        "summary": operation.summary,
        "parameters": [
            *_parameters("path", operation.in_path, required=True),
            *_parameters("query", operation.query, required=False),
        ],
        "responses": {
            "200": {"description": "It is so.", "content": content},
            "4XX": {"description": "Why not.", "content": _json({"$ref": _REF.format(name="Refusal")})},
        },
    }
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _json(schema_of[repr(operation.body)])}
    return described


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _parameters(place: str, named: Schemas, required: bool) -> list[dict[str, Any]]:
    return [{"name": name, "in": place, "required": required, "schema": schema} for name, schema in named.items()]


class Described:
    """The route of the document."""

    def __init__(self, path: str, title: str, version: str, operations: Iterable[Operation]) -> None:
        self._path = path
        self._document = encode(document(title, version, operations))

    def add_routes(self, app: web.Application) -> None:
        """Serve it."""
        app.router.add_get(self._path, self._answer)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        return encoded(self._document)
