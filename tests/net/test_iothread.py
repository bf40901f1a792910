"""parkcos/net/iothread.py: the thread with all sockets outlives what runs in it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from parkcos.net import iothread
from parkcos.net.iothread import IOThread


@pytest.mark.parametrize("new_loop", [iothread._new_loop, asyncio.SelectorEventLoop])
@pytest.mark.parametrize("leaves", [SystemExit, KeyboardInterrupt])
def test_a_coroutine_that_exits_ends_alone(
    new_loop: Any, leaves: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``yield io(...)`` of one that calls sys.exit(), or waits for a task that does."""
    monkeypatch.setattr(iothread, "_new_loop", new_loop)
    io = IOThread()
    io.start()

    async def exits() -> None:
        await asyncio.sleep(0)
        raise leaves(3)

    try:
        for _ in range(2):
            with pytest.raises(leaves, match="3"):
                io.run(exits()).result(10)
            assert io.run(asyncio.sleep(0.01, 5)).result(10) == 5
    finally:
        io.close()
    assert not io.thread.is_alive()
    assert io.loop.is_closed()


@pytest.mark.parametrize("new_loop", [iothread._new_loop, asyncio.SelectorEventLoop])
def test_coroutines_clean_up_at_the_end(new_loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iothread, "_new_loop", new_loop)
    io = IOThread()
    io.start()
    done: list[str] = []

    async def cleans_up(name: str, leaves: type[BaseException] | None = None) -> None:
        try:
            begun.append(name)
            await asyncio.sleep(1000)
        finally:
            for _ in range(5):
                await asyncio.sleep(0.01)
            await asyncio.to_thread(done.append, name)
            if leaves is not None:
                raise leaves

    async def generates() -> Any:
        try:
            yield
        finally:
            await asyncio.sleep(0.01)
            done.append("generator")

    async def iterates() -> None:
        kept.append(generator := generates())
        await anext(generator)

    begun: list[str] = []
    kept: list[Any] = []
    io.run(iterates()).result(10)
    futures = [io.run(cleans_up("one")), io.run(cleans_up("two", SystemExit)), io.run(cleans_up("three"))]
    io.run(asyncio.sleep(0)).result(10)
    assert begun == ["one", "two", "three"]
    io._closing = True
    io.call(io.loop.call_soon, io.loop.stop)  # as by who closes it, too
    io.close()
    assert not io.thread.is_alive()
    assert sorted(done) == ["generator", "one", "three", "two"]
    assert all(future.done() for future in futures)


def test_a_clean_up_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(iothread, "CLEAN_UP_S", 0.2)
    io = IOThread()
    io.start()

    async def endless() -> None:
        while True:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                continue

    io.run(endless())
    io.run(asyncio.sleep(0)).result(10)
    io.close()
    assert io.loop.is_closed()
    assert "endless" in caplog.text
