"""parkcos/node/nursery.py and zygote.py: a real zygote, without a node around it."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle
import psutil
import pytest

from parkcos.cluster.bundle import Bundle, encode_bundle
from parkcos.node import family
from parkcos.node.birth import spawn
from parkcos.node.client_folders import BUNDLE
from parkcos.node.nursery import ORDERS_MAX, Nursery
from parkcos.node.output import OutputThread, Printed
from parkcos.node.server_config import ServerConfig
from tests.live.lib import LIMIT_S

pytestmark = pytest.mark.live

ROUNDS = 30


class Place:
    """A zygote that is open, and what was heard of it.  setup: its client's node_setup."""

    def __init__(self, folder: Path, setup: Callable[..., Any] | None = None) -> None:
        self.output = OutputThread()
        self.news: asyncio.Queue[Any] = asyncio.Queue()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.nursery = Nursery(
            asyncio.get_running_loop(),
            self.news.put_nowait,
            lambda kind, index, port, incarnation: self.news.put_nowait((kind, index)),
            self.ended.set_result,
            Printed(self.output, "n"),
            spawn(),
        )
        folder.mkdir()
        cloudpickle.register_pickle_by_value(sys.modules[__name__])
        call = cloudpickle.dumps((setup, (), {})) if setup is not None else None
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
        (folder / BUNDLE).write_bytes(encode_bundle(Bundle([], [], call)))
        self.nursery.directory = folder
        config = ServerConfig(["127.0.0.1"], [], "n", 1, 2, [], b"", 5.0, debug=False)
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
        self.output.close()


def with_place(
    tmp_path: Path, body: Callable[[Place], Coroutine[Any, Any, None]], setup: Callable[..., Any] | None = None
) -> None:
    async def main() -> None:
        place = Place(tmp_path / "client", setup)
        try:
            async with asyncio.timeout(LIMIT_S):
                if setup is None:
                    await place.hear(lambda news: isinstance(news, family.Opened))
                await body(place)
        except BaseException:
            place.nursery.kill_family()
            raise
        finally:
            await place.close()

    asyncio.run(main())


def test_a_server_that_is_told_to_end_as_it_is_born_ends_alone(tmp_path: Path) -> None:
    """Until it has handlers of its own, a forked server has those of the zygote, which end the whole family."""

    async def body(place: Place) -> None:
        order = place.nursery.order
        place.nursery.fork(family.Fork(0, [0]))
        await place.hear(lambda news: news == (family.LISTENING, 0))
        other = place.nursery.tally.read(0).pid
        for _ in range(ROUNDS):
            place.nursery.fork(family.Fork(1, [0]))
            order(family.Signal(1, signal.SIGTERM))
            await place.hear(lambda news: isinstance(news, family.Exited) and news.index == 1)
        os.kill(other, 0)  # it is there
        assert (tmp_path / "client").is_dir()

    with_place(tmp_path, body)


def test_a_server_for_which_there_are_no_pipes_is_not_started(tmp_path: Path) -> None:
    """It is told as one that has ended, and is tried again, as one that cannot be forked."""

    async def body(place: Place) -> None:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (psutil.Process().num_fds() + 3, limits[1]))
        try:
            place.nursery.fork(family.Fork(0, [0]))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        news = await place.hear(lambda news: isinstance(news, family.Exited))
        assert news == family.Exited(0, "it could not be started: Too many open files")
        place.nursery.fork(family.Fork(0, [0]))
        await place.hear(lambda news: news == (family.LISTENING, 0))

    with_place(tmp_path, body)


def test_a_server_listens_before_it_ends_whichever_is_read_first(tmp_path: Path) -> None:
    """Else that it listens would be taken for the word of the next server in its place."""

    async def body(place: Place) -> None:
        nursery = place.nursery
        asyncio.get_running_loop().remove_reader(nursery._reports)
        nursery.fork(family.Fork(0, [0]))
        await asyncio.to_thread(select.select, [nursery._reports], [], [], LIMIT_S)
        os.kill(nursery.tally.read(0).pid, signal.SIGKILL)
        assert await place.hear(lambda news: True) == (family.LISTENING, 0)
        assert isinstance(await place.hear(lambda news: True), family.Exited)

    with_place(tmp_path, body)


# What a client's code in the zygote may do to the node.


def node_socket() -> int:
    """The zygote's end of the socket to the node."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                return int(name)
        except OSError:  # of listdir itself
            pass
    raise AssertionError("there is none")


def sends(data: bytes) -> Callable[..., Any]:
    def setup() -> Generator[Any, Any, int]:
        yield
        os.write(node_socket(), data)
        while True:
            yield
        return 0

    return setup


def writes_reports(data: bytes) -> Callable[..., Any]:
    def setup() -> Generator[Any, Any, int]:
        yield
        os.write(int(open("/proc/self/cmdline").read().split("\0")[-5]), data)  # noqa: SIM115
        while True:
            yield
        return 0

    return setup


@pytest.mark.parametrize(
    ("setup", "what"),
    [
        (sends(b"\xff\xff\xff\xff"), "a message of 4294967295 bytes"),
        (sends(family.LENGTH.pack(family.NEWS_BYTES_MAX + 1)), f"a message of {family.NEWS_BYTES_MAX + 1} bytes"),
        (sends(family.LENGTH.pack(3) + b"\xc1\xc1\xc1"), "no message: "),
        (sends(family.frame(family.Close())), "no message: "),
        (writes_reports(b"x"), "a part of a server's report"),
        (writes_reports(family.REPORT.pack(99, 0, 0, 0)), "a server's report without meaning"),
        (writes_reports(family.REPORT.pack(family.LISTENING, 0, 70000, 1)), "a server's report without meaning"),
    ],
)
def test_nonsense_from_a_zygote_ends_that_zygote_and_says_so(
    tmp_path: Path, setup: Callable[..., Any], what: str
) -> None:
    async def body(place: Place) -> None:
        reason = await place.ended
        assert re.search(f"was ended: it (or a server )?has sent {re.escape(what)}.* to the node", reason)
        assert not psutil.pid_exists(place.nursery.pid)
        assert not (tmp_path / "client").exists()

    with_place(tmp_path, body, setup)


def hands_over_files() -> Generator[Any, Any, int]:
    """Descriptors of regular files, with messages that are in order, and thousands of them."""
    yield
    import socket

    node = socket.socket(fileno=os.dup(node_socket()))
    with open("/proc/self/stat") as file:
        for _ in range(1000):
            data = family.frame(family.Exited(99, "it was not there"))
            sent = socket.send_fds(node, [data], [file.fileno()] * 16)
            node.sendall(data[sent:])
    node.close()
    return 0


def test_descriptors_from_a_zygote_are_not_taken(tmp_path: Path) -> None:
    async def body(place: Place) -> None:
        before = psutil.Process().num_fds()
        await place.hear(lambda news: isinstance(news, family.Opened))
        assert psutil.Process().num_fds() <= before
        place.nursery.fork(family.Fork(0, [0]))
        await place.hear(lambda news: news == (family.LISTENING, 0))

    with_place(tmp_path, body, hands_over_files)


def stops() -> Generator[Any, Any, int]:
    """The zygote, for ever."""
    yield
    os.kill(os.getpid(), signal.SIGSTOP)
    return 0


def test_orders_that_are_not_taken_do_not_pile_up(tmp_path: Path) -> None:
    async def body(place: Place) -> None:
        zygote = psutil.Process(place.nursery.pid)
        while zygote.status() != psutil.STATUS_STOPPED:
            await asyncio.sleep(0.01)
        for _ in range(100 * ORDERS_MAX):
            place.nursery.order(family.Signal(0, signal.SIGUSR2))
            if place.nursery._reaping:
                break
        assert "takes no orders" in await place.ended

    with_place(tmp_path, body, stops)


def test_a_zygote_whose_node_ends_with_news_unread_removes_what_is_there(tmp_path: Path) -> None:
    """The system tells it that the connection was reset, and not that it has ended."""

    async def body(place: Place) -> None:
        loop, nursery = asyncio.get_running_loop(), place.nursery
        loop.remove_reader(nursery._orders)
        nursery.order(family.Fork(0, [0]))  # without pipes: it says that there is no such server
        try:
            await asyncio.to_thread(select.select, [nursery._orders], [], [], LIMIT_S)
            gone, nursery._orders = nursery._orders, socket.socket()
            gone.close()
            how = await asyncio.to_thread(nursery._process.wait, LIMIT_S)
            assert how == -signal.SIGKILL, "by itself, with its group"
            assert not (tmp_path / "client").exists()
        finally:
            nursery._begin_to_bury()

    with_place(tmp_path, body)


def test_a_zygote_is_buried_also_while_no_thread_can_be_started(tmp_path: Path) -> None:
    """What a client's tasks have started may be as much as the system allows its user."""

    class NoThreads(ThreadPoolExecutor):
        failures = 0

        def submit(self, *args: Any, **kwargs: Any) -> Any:
            if self.failures < 2:
                self.failures += 1
                raise RuntimeError("can't start new thread")
            return super().submit(*args, **kwargs)

    async def body(place: Place) -> None:
        pool = NoThreads()
        asyncio.get_running_loop().set_default_executor(pool)
        os.kill(place.nursery.pid, signal.SIGKILL)
        assert "was killed by signal 9" in await place.ended
        assert pool.failures == 2
        assert not (tmp_path / "client").exists()

    with_place(tmp_path, body)
