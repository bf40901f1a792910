"""What every request must pass: the Host header, the origin, the token; and the headers of every answer.

A site may stand below a path of another server, which takes that path away.  So no address that it gives begins
with "/", and only pages at its top send anybody elsewhere: some of these servers take a Location for one below the top.
What they say of themselves (X-Forwarded-...) is never read: anybody can say that.
"""

from __future__ import annotations

import asyncio
import math
import re
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from urllib.parse import parse_qs

import psutil
from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from parkcos.web import answers
from parkcos.web.attempts import Attempts, place_of
from parkcos.web.kind import PLAIN, Kind
from parkcos.web.sessions import SESSION_S, Session, Sessions
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
LOGIN_BYTES_MAX = 4096
"""Bytes of the form with a token."""
SAFE = ("GET", "HEAD")
"""The methods that change nothing."""

_GO_ON = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>parkcos</title><meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,"><meta http-equiv="refresh" content="0; url=./"></head>
<body><p><a href="./">Go on</a></p></body></html>
"""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Guard:
    """The middleware.

    Args:
        tokens: of who may look, and act.
        port: of the site.
        secure: it is HTTPS.
        hosts: names under which it may be reached, beside the machine's own name and addresses.
        kind: of the site.
    """

    def __init__(self, tokens: Tokens, port: int, secure: bool, hosts: Sequence[str], kind: Kind = PLAIN) -> None:
        self._tokens = tokens
        self._sessions = Sessions(port)
        self._attempts = Attempts()
        self._kind = kind
        self._secure = secure
        self._hosts = {host.lower().rstrip(".") for host in hosts}
        name = socket.gethostname().lower()
        self._names = {"localhost", name, name.partition(".")[0], *self._hosts}
        self._addresses = _own_addresses()

    def install(self, app: web.Application) -> None:
        """Let all requests to `app` pass through this, and serve logging in and out."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._pass(request, handler)

        app.middlewares.append(guard)
        app.on_response_prepare.append(self._add_headers)
        app.router.add_post("/login", self._login)
        app.router.add_post("/logout", self._logout)
        app.router.add_get("/session", self._session)

    async def _add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = "parkcos"
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)

    async def _pass(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            session = self._admitted(request)
            if isinstance(session, web.Response):
                return session
            return await (handler(request) if session is None else self._while_lasts(session, request, handler))
        except web.HTTPException as error:
            if self._is_for_data(request) and error.status >= 400:
                passed_on = {name: error.headers[name] for name in ("Allow", "Retry-After") if name in error.headers}
                return answers.refused(error.status, f"{request.method} {request.path}: {error.reason}", passed_on)
            raise

    async def _while_lasts(self, session: Session, request: web.Request, handler: Handler) -> web.StreamResponse:
        """A stream, too, is sent no longer than the session lasts: then its connection ends."""
        try:
            async with session.lasting():
                return await handler(request)
        except TimeoutError:
            if session.ends > _now():
                raise
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionAbortedError from None

    def _admitted(self, request: web.Request) -> web.Response | Session | None:
        """The answer to who may not ask this; else the session in which it is asked, None for none.

        Raises: HTTPTooManyRequests.
        """
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
        safe = request.method in SAFE
        bearer = _bearer(request)
        origin = request.headers.get("Origin")
        if bearer is None and not _is_own_page(request) and not self._is_own_origin(origin, host, safe or login, login):
            text = (
                f"a page of {origin!r} may not ask this of {host!r}: no Origin of its own; if it is its own page, "
                "behind another web server, that must pass the Host header on, or speak HTTPS"
            )
            return self._refused(request, 403, text)
        if bearer is None and _is_foreign(request):
            return self._refused(request, 403, "pages of other sites may lead here by a link, and ask for nothing else")
        if login:
            return None
        if request.path == "/" and request.method == "GET" and "token" in request.query and bearer is None:
            may_act = self._may_act(request, request.query["token"])
            return go_to("login?wrong") if may_act is None else self._logged_in(_go_on(request), may_act)
        session = self._find_session(request) if bearer is None else None
        may_act = session.may_act if session is not None else None
        if bearer is not None:
            may_act = self._may_act(request, bearer)
        if may_act is None:
            if bearer is None and not self._is_for_data(request) and request.path.count("/") == 1:
                return go_to("login")
            needs = f"this needs the {self._kind.name}'s token: Authorization: Bearer TOKEN"
            return self._refused(request, 401, needs if bearer is None else "the token is wrong")
        if path == "/logout":
            return None
        if not may_act and not safe:
            text = f"{request.method} {request.path}: this token is to look only; to act takes the other one"
            return self._refused(request, 403, text)
        return session

    def _may_act(self, request: web.Request, token: str) -> bool | None:
        """As `Tokens.may_act`.  Raises: HTTPTooManyRequests, if too many wrong ones came from there."""
        now, place = _now(), place_of(request.remote)
        wait_s = math.ceil(self._attempts.wait_s(place, now))
        if wait_s > 0:
            text = f"too many wrong tokens came from {place}: none is looked at for {wait_s} seconds; try again then"
            raise web.HTTPTooManyRequests(reason=text, text=text + "\n", headers={"Retry-After": str(wait_s)})
        may_act = self._tokens.may_act(token)
        if may_act is None:
            self._attempts.wrong(place, now)
        return may_act

    def _is_for_data(self, request: web.Request) -> bool:
        return request.path.startswith(self._kind.data) or request.path in ("/logout", "/session")

    def _refused(self, request: web.Request, status: int, text: str) -> web.Response:
        """An answer that says why not."""
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
        if self._is_for_data(request):
            return answers.refused(status, text, headers)
        return web.Response(text=text + "\n", status=status, headers=headers)

    def _cookies(self, request: web.Request) -> Iterator[str]:
        """Browsers send those of all paths above, under one name: an old one may be among them."""
        cookies = (each.strip().partition("=") for each in ";".join(request.headers.getall("Cookie", ())).split(";"))
        return (value for name, _, value in cookies if name == self._sessions.cookie_name)

    def _find_session(self, request: web.Request) -> Session | None:
        found = (self._sessions.find(cookie, _now()) for cookie in self._cookies(request))
        return next((session for session in found if session is not None), None)

    def _logged_in(self, response: web.Response, may_act: bool) -> web.Response:
        """The same, with the cookie of a new session."""
        return self._with_cookie(response, self._sessions.open(may_act, _now()), SESSION_S)

    def _with_cookie(self, response: web.Response, cookie: str, max_age_s: int) -> web.Response:
        response.set_cookie(
            self._sessions.cookie_name,
            cookie,
            max_age=max_age_s,
            path="",  # that of the page, as the browser knows it
            httponly=True,
            samesite="Strict",
            secure=self._secure,
        )
        return response

    async def _login(self, request: web.Request) -> web.StreamResponse:
        """POST /login."""
        try:
            body = await answers.read(request, LOGIN_BYTES_MAX)
            form = parse_qs(body.decode(errors="replace"), max_num_fields=10)
        except (ValueError, RequestPayloadError):
            form = {}
        may_act = self._may_act(request, form.get("token", [""])[0].strip())
        return go_to("login?wrong") if may_act is None else self._logged_in(go_to(TOP), may_act)

    async def _logout(self, request: web.Request) -> web.StreamResponse:
        """POST /logout: the sessions of the cookies that came along are over, and what they look at ends."""
        for cookie in self._cookies(request):
            self._sessions.close(cookie)
        return self._with_cookie(answers.answer({"ok": True}), "", 0)

    async def _session(self, request: web.Request) -> web.StreamResponse:
        """GET /session: what who asks may do."""
        session, bearer = self._find_session(request), _bearer(request)
        may_act = session is not None and session.may_act if bearer is None else self._tokens.may_act(bearer)
        return answers.answer({"may_act": bool(may_act)})

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


def _now() -> float:
    return asyncio.get_running_loop().time()


def _bearer(request: web.Request) -> str | None:
    """The token that a program sends with each request."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else None


def _is_own_page(request: web.Request) -> bool:
    """Whether the browser says that the page is of the origin that it asks, which a page cannot make it say.

    That holds behind another server, too, whatever Host header that sends.  It is said to HTTPS and localhost only.
    """
    return request.headers.get("Sec-Fetch-Site") == "same-origin"


def _is_foreign(request: web.Request) -> bool:
    """Whether the browser says that a page of another site asks this, and does not lead its user here.

    Such a page could keep others at this address from logging in, by wrong tokens.
    """
    if request.headers.get("Sec-Fetch-Site") not in ("cross-site", "same-site"):
        return False
    mode, kind = (request.headers.get(name) for name in ("Sec-Fetch-Mode", "Sec-Fetch-Dest"))
    return request.method not in SAFE or mode not in (None, "navigate") or kind not in (None, "document")


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
