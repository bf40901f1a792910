"""parkcos/web/sessions.py: who has logged in, for how long, and until he logs out."""

from __future__ import annotations

import asyncio

import pytest

from parkcos.web import sessions
from parkcos.web.sessions import SESSION_S, Sessions


def test_each_login_is_a_session_of_its_own_and_random() -> None:
    made = Sessions(8181)
    cookies = {made.open(True, 0.0) for _ in range(10)}
    assert len(cookies) == 10
    assert all(len(cookie) >= 43 for cookie in cookies)
    assert made.cookie_name == "parkcos_8181"


def test_it_knows_whether_it_may_act() -> None:
    made = Sessions(1)
    for may_act in (True, False):
        found = made.find(made.open(may_act, 0.0), 1.0)
        assert found is not None and found.may_act is may_act
    for wrong in ("", "0" * 43, "\ud800é"):
        assert made.find(wrong, 1.0) is None


def test_it_ends_after_twelve_hours_however_much_it_is_used() -> None:
    made = Sessions(1)
    cookie = made.open(True, 5.0)
    assert SESSION_S == 12 * 3600
    assert all(made.find(cookie, 5.0 + hour * 3600) for hour in range(12))
    assert made.find(cookie, 5.0 + SESSION_S) is None


def test_logging_out_ends_this_one_alone() -> None:
    made = Sessions(1)
    one, other = made.open(True, 0.0), made.open(True, 0.0)
    made.close(one)
    made.close(one)
    made.close("nobody's")
    assert made.find(one, 0.0) is None
    assert made.find(other, 0.0) is not None


def test_there_are_no_more_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_MAX", 3)
    made = Sessions(1)
    first, second, *_ = [made.open(True, 0.0) for _ in range(4)]
    assert len(made) == 3
    assert made.find(first, 0.0) is None
    assert made.find(second, 0.0) is not None
    made.open(True, float(SESSION_S))
    assert len(made) == 1, "those that have ended are forgotten"


def test_what_is_done_in_it_ends_with_it() -> None:
    async def use(made: Sessions, how: str) -> str:
        now = asyncio.get_running_loop().time()
        cookie = made.open(True, now if how == "late" else now + 1000)
        session = made.find(cookie, now)
        assert session is not None
        inside, told = asyncio.Event(), []

        async def look() -> None:
            try:
                async with session.lasting():
                    inside.set()
                    await asyncio.Event().wait()
            except TimeoutError:
                told.append("ended")

        looking = [asyncio.ensure_future(look()) for _ in range(2)]
        await inside.wait()
        if how == "logged out":
            made.close(cookie)
            session.end()  # twice does no harm
        await asyncio.wait_for(asyncio.gather(*looking), 20)
        return " ".join(told)

    made = Sessions(1)
    assert asyncio.run(use(made, "logged out")) == "ended ended"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sessions, "SESSION_S", 0.1)
        assert asyncio.run(use(made, "late")) == "ended ended"


def test_what_fails_in_it_by_itself_is_left_as_it_is() -> None:
    async def use() -> None:
        made = Sessions(1)
        now = asyncio.get_running_loop().time()
        session = made.find(made.open(True, now), now)
        assert session is not None
        with pytest.raises(ZeroDivisionError):
            async with session.lasting():
                raise ZeroDivisionError
        async with session.lasting():
            pass
        session.end()
        assert session.ends <= now

    asyncio.run(use())
