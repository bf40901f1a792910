"""What every request must pass: the Host header, the token, the origin; and the headers of every answer.

A site may stand below a path of another server, which takes that path away.  So no address that it gives begins
with "/", and only pages at its top send anybody elsewhere: some of these servers take a Location for one below the top.
What they say of themselves (X-Forwarded-...) is never read: anybody can say that.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import parse_qs

import psutil
from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from parkcos.web import answers
from parkcos.web.kind import PLAIN, Kind
from parkcos.web.tokens import Tokens

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

TOP = "./"
"""The way from a page to the one at the top."""
LOGIN_S = 10.0
"""So long a form may take to come."""

_GO_ON = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>parkcos</title><meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,"><meta http-equiv="refresh" content="0; url=./"></head>
<body><p><a href="./">Go on</a></p></body></html>
"""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Guard:
    """The middleware.

    Args:
        secure: it is HTTPS.
        hosts: names under which it may be reached, beside the machine's own name and addresses.
        kind: of the site.
    """

    def __init__(self, tokens: Tokens, secure: bool, hosts: Sequence[str], kind: Kind = PLAIN) -> None:
        self._tokens = tokens
        self._kind = kind
        self._secure = secure
        self._hosts = {host.lower().rstrip(".") for host in hosts}
        name = socket.gethostname().lower()
        self._names = {"localhost", name, name.partition(".")[0], *self._hosts}
        self._addresses = _own_addresses()

    def install(self, app: web.Application) -> None:
        """Let all requests to `app` pass through this."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._pass(request, handler)

        app.middlewares.append(guard)
        app.on_response_prepare.append(self._add_headers)

    async def _add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = "parkcos"
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)

    async def _pass(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        try:
            return await handler(request)
        except web.HTTPException as error:
            if self._is_for_data(request) and error.status >= 400:
                allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
                return answers.refused(error.status, f"{request.method} {request.path}: {error.reason}", allowed)
            raise

    def _refusal(self, request: web.Request) -> web.StreamResponse | None:
        """The answer to who may not ask this; None if it may."""
        host = request.headers.get("Host", "")
        if not self._is_own_host(host, request):
            text = (
                f"this {self._kind.name} is not called {host!r}: use an address or the name of its machine, or add the "
                f"name: {self._kind.hosts_option}"
            )
            return self._refused(request, 403, text)
        route = request.match_info.route.resource
        path = route.canonical if route is not None else ""
        if path == "/healthz":
            return None
        login = path == "/login"
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        bearer = scheme.lower() == "bearer"
        if bearer:
            allowed = self._tokens.is_token(given.strip())
        else:
            allowed = self._has_cookie(request)
            origin = request.headers.get("Origin")
            safe = request.method in ("GET", "HEAD")
            if not _is_own_page(request) and not self._is_own_origin(origin, host, safe or login, login):
                text = (
                    f"a page of {origin!r} may not ask this of {host!r}: no Origin of its own; if it is its own page, "
                    "behind another web server, that must pass the Host header on, or speak HTTPS"
                )
                return self._refused(request, 403, text)
        if request.path == "/" and request.method == "GET" and "token" in request.query and not bearer:
            if self._tokens.is_token(request.query["token"]):
                return self._logged_in(_go_on(request))
            return go_to("login?wrong")
        if allowed or login:
            return None
        if bearer or self._is_for_data(request) or request.path.count("/") > 1:
            needs = f"this needs the {self._kind.name}'s token: Authorization: Bearer TOKEN"
            return self._refused(request, 401, "the token is wrong" if bearer else needs)
        return go_to("login")

    def _is_for_data(self, request: web.Request) -> bool:
        return request.path.startswith(self._kind.data)

    def _refused(self, request: web.Request, status: int, text: str) -> web.StreamResponse:
        """An answer that says why not."""
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
        if self._is_for_data(request):
            return answers.refused(status, text, headers)
        return web.Response(text=text + "\n", status=status, headers=headers)

    def _has_cookie(self, request: web.Request) -> bool:
        """Browsers send those of all paths above, under one name: an old one may be among them."""
        cookies = (each.strip().partition("=") for each in ";".join(request.headers.getall("Cookie", ())).split(";"))
        return any(name == self._tokens.cookie_name and self._tokens.is_cookie(value) for name, _, value in cookies)

    def _logged_in(self, response: web.Response) -> web.Response:
        """The same, with the cookie."""
        response.set_cookie(
            self._tokens.cookie_name,
            self._tokens.cookie,
            path="",  # that of the page, as the browser knows it
            httponly=True,
            samesite="Strict",
            secure=self._secure,
        )
        return response

    async def login(self, request: web.Request) -> web.StreamResponse:
        """POST /login."""
        try:
            async with asyncio.timeout(LOGIN_S):
                body = await request.read()
            form = parse_qs(body.decode(errors="replace"), max_num_fields=10)
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        except (ValueError, RequestPayloadError):
            form = {}
        if self._tokens.is_token(form.get("token", [""])[0].strip()):
            return self._logged_in(go_to(TOP))
        return go_to("login?wrong")

    def _is_own_host(self, host: str, request: web.Request) -> bool:
        """A name that a stranger has pointed here (DNS rebinding) is none of these."""
        match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]\s]+)(:\d+)?", host)
        if match is None or len(request.headers.getall("Host", [])) != 1:
            return False
        name = match[1].strip("[]").lower().rstrip(".")
        if name in self._names or name in self._addresses:
            return True
        transport = request.transport
        own = transport.get_extra_info("sockname") if transport is not None else None
        return own is not None and name == str(own[0]).partition("%")[0]  # an address that came later

    def _is_own_origin(self, origin: str | None, host: str, may_lack: bool, may_be_null: bool) -> bool:
        if origin is None:
            return may_lack
        if origin == "null":
            return may_be_null
        own = {f"{'https' if self._secure else 'http'}://{host}".lower()}
        if host.lower().partition(":")[0] in self._hosts:
            own.add(f"https://{host}".lower())  # it may stand behind another server, which speaks HTTPS
        return origin.lower() in own


def go_to(path: str) -> web.Response:
    """Send the browser of a page at the top there."""
    return web.Response(status=303, headers={"Location": path})


def _is_own_page(request: web.Request) -> bool:
    """Whether the browser says that the page is of the origin that it asks, which a page cannot make it say.

    That holds behind another server, too, whatever Host header that sends.  It is said to HTTPS and localhost only.
    """
    return request.headers.get("Sec-Fetch-Site") == "same-origin"


def _go_on(request: web.Request) -> web.Response:
    """From the address with the token to the one without.

    A browser that follows a link of another site does not send a SameSite=Strict cookie along when it is redirected:
    that still counts as the other site's doing.  What a page of this site asks for does not.
    """
    if "text/html" not in request.headers.get("Accept", "") or request.headers.get("Sec-Fetch-Site") == "none":
        return go_to(TOP)
    return web.Response(text=_GO_ON, content_type="text/html")


def _own_addresses() -> set[str]:
    """Of this machine."""
    found = {"127.0.0.1", "::1"}
    for addresses in psutil.net_if_addrs().values():
        found |= {each.address.partition("%")[0].lower() for each in addresses if each.family != psutil.AF_LINK}
    return found
