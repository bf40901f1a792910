"""The browsers that have logged in: each has a session, and a random cookie that says nothing of the token.

They live in memory: with the program, all of them end.  I/O thread only.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator

SESSION_S = 12 * 3600
"""Life of a session, whatever it is used for."""
SESSIONS_MAX = 1_000
"""Sessions at once; then the oldest ends."""


class Session:
    """One login.

    may_act: it may act, and not look only; ends: when, by the loop's clock.
    """

    def __init__(self, may_act: bool, ends: float) -> None:
        self.may_act = may_act
        self.ends = ends
        self._under_way: set[asyncio.Timeout] = set()

    @contextlib.asynccontextmanager
    async def lasting(self) -> AsyncIterator[None]:
        """What is done inside is cancelled when the session ends.  Raises: TimeoutError, then."""
        async with asyncio.timeout_at(self.ends) as limit:
            self._under_way.add(limit)
            try:
                yield
            finally:
                self._under_way.discard(limit)

    def end(self) -> None:
        """Now, and with it what is done in it."""
        self.ends = 0.0
        for limit in self._under_way:
            if not limit.expired():
                limit.reschedule(self.ends)


class Sessions:
    """Those of one site.  now: seconds of the loop's clock.

    port: makes the cookie's name; browsers send the cookies of a host to all its ports.
    """

    def __init__(self, port: int) -> None:
        self.cookie_name = f"parkcos_{port}"
        self._sessions: dict[bytes, Session] = {}
        """By their cookies' digests, the oldest first: what can be looked up cannot be guessed byte by byte."""

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, may_act: bool, now: float) -> str:
        """Begin a session.  Returns: its cookie."""
        while self._sessions:
            digest, oldest = next(iter(self._sessions.items()))
            if oldest.ends > now and len(self._sessions) < SESSIONS_MAX:
                break
            del self._sessions[digest]
            oldest.end()
        cookie = secrets.token_urlsafe(32)
        self._sessions[_digest(cookie)] = Session(may_act, now + SESSION_S)
        return cookie

    def find(self, cookie: str, now: float) -> Session | None:
        """The session of this cookie, unless it has ended."""
        session = self._sessions.get(_digest(cookie))
        return session if session is not None and session.ends > now else None

    def close(self, cookie: str) -> None:
        """End the session of this cookie, if there is one."""
        session = self._sessions.pop(_digest(cookie), None)
        if session is not None:
            session.end()


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).digest()
