"""JSON: what programs and scripts of pages are answered, and what they send."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from aiohttp import web

T = TypeVar("T")

BODY_S = 30.0
"""The time in which what comes with a request must be there."""

encode = msgspec.json.Encoder().encode


def answer(thing: Any) -> web.Response:
    """`thing` as JSON."""
    return encoded(encode(thing))


def encoded(data: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """What is JSON already."""
    return web.Response(body=data, status=status, headers=headers, content_type="application/json", charset="utf-8")


def refused(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer that says why not."""
    return encoded(encode({"error": text}), status, headers)


async def read(request: web.Request, bytes_max: int | None = None) -> bytes:
    """What came with the request.

    bytes_max: None: as the site's.

    Raises: HTTPRequestEntityTooLarge; HTTPRequestTimeout if it takes longer than `BODY_S`.
    """
    if bytes_max is not None:
        request = request.clone(client_max_size=bytes_max)
    try:
        async with asyncio.timeout(BODY_S):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None


async def body(request: web.Request, kind: type[T]) -> T:
    """The JSON that came with the request, as this type says it; no body stands for `{}`.

    Raises: HTTPUnsupportedMediaType if it is not called JSON (a form of a foreign page cannot call itself that),
    HTTPBadRequest if it is not of that type.
    """
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(reason="send JSON, with Content-Type: application/json")
    data = await read(request)
    try:
        return msgspec.json.decode(data or b"{}", type=kind)
    except msgspec.MsgspecError as error:
        raise web.HTTPBadRequest(reason=re.sub(r"[^ -~]", "?", f"the JSON cannot be used: {error}")[:300]) from None
