"""parkcos/node/nursery.py and zygote.py: a real zygote, without a node around it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from parkcos.cluster import messages as m
from parkcos.node import family
from parkcos.node.nursery import Nursery
from parkcos.node.server import BUNDLE
from tests.live.lib import LIMIT_S

pytestmark = pytest.mark.live

ROUNDS = 30


class Place:
    """A zygote that is open, and what was heard of it."""

    def __init__(self, folder: Path) -> None:
        self.news: asyncio.Queue[Any] = asyncio.Queue()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.nursery = Nursery(
            asyncio.get_running_loop(),
            self.news.put_nowait,
            lambda kind, index, port, incarnation: self.news.put_nowait((kind, index)),
            self.ended.set_result,
        )
        folder.mkdir()
        (folder / BUNDLE).write_bytes(m.encode_bundle(m.Bundle([], [])))
        self.nursery.directory = folder
        config = family.ServerConfig(["127.0.0.1"], [], "n", 1, 2, [], None, None, 5.0, debug=False)
        self.nursery.order(family.Open(config, str(folder)))

    async def hear(self, wanted: Callable[[Any], bool]) -> Any:
        """The next news of that kind; the zygote must not end before."""
        while True:
            getting = asyncio.ensure_future(self.news.get())
            await asyncio.wait({getting, self.ended}, return_when=asyncio.FIRST_COMPLETED)
            assert not self.ended.done(), self.ended.result()
            if wanted(news := getting.result()):
                return news

    async def close(self) -> None:
        if not self.ended.done():
            self.nursery.order(family.Close())
        await self.ended


def with_place(tmp_path: Path, body: Callable[[Place], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        place = Place(tmp_path / "client")
        try:
            async with asyncio.timeout(LIMIT_S):
                await place.hear(lambda news: isinstance(news, family.Opened))
                await body(place)
        finally:
            await place.close()

    asyncio.run(main())


def test_a_server_that_is_told_to_end_as_it_is_born_ends_alone(tmp_path: Path) -> None:
    """Until it has handlers of its own, a forked server has those of the zygote, which end the whole family."""

    async def body(place: Place) -> None:
        order = place.nursery.order
        order(family.Fork(0, [0]))
        await place.hear(lambda news: news == (family.LISTENING, 0))
        other = place.nursery.tally.read(0).pid
        for _ in range(ROUNDS):
            order(family.Fork(1, [0]))
            order(family.Signal(1, signal.SIGTERM))
            await place.hear(lambda news: isinstance(news, family.Exited) and news.index == 1)
        os.kill(other, 0)  # it is there
        assert (tmp_path / "client").is_dir()

    with_place(tmp_path, body)
