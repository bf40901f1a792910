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
