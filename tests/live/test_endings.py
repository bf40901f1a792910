"""The orderly end of a server: as that of any Python program, and bounded."""

from __future__ import annotations

import atexit
import gzip
import os
import tempfile
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

import parkcos
from parkcos import Client, close_server
from tests.live.lib import with_client

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("cluster")]

Gen = Generator[Any, Any, Any]

kept: list[Any] = []
"""At a server, until it ends."""
shared_folder: Any = None


def sets_up(note: str) -> Any:
    def setup() -> Gen:
        global shared_folder
        yield
        shared_folder = tempfile.TemporaryDirectory()
        atexit.register(append, note, "of node_setup")
        file = open(note, "a", 1)  # noqa: SIM115
        file.write("not yet written")
        kept.append(file)
        return 0

    return setup


def append(note: str, text: str) -> None:
    with open(note, "a") as file:
        file.write(f"{text}\n")


def slow(note: str) -> None:
    time.sleep(0.2)
    append(note, "a thread was waited for")


def begins(note: str, folder: str) -> Gen:
    """Leaves things to the end of the program."""
    yield
    atexit.register(append, note, "atexit")
    threading.Thread(target=slow, args=(note,)).start()
    own = tempfile.TemporaryDirectory()
    text = open(f"{folder}/text", "w")  # noqa: SIM115
    text.write("in a buffer")
    packed = gzip.open(f"{folder}/packed.gz", "wt")  # noqa: SIM115
    packed.write("in two buffers")
    kept.extend((own, text, packed))
    return own.name, shared_folder.name


def exists(path: str) -> Gen:
    yield
    return os.path.exists(path)


def test_a_server_ends_as_a_program_does(tmp_path: Path) -> None:
    note = str(tmp_path / "note")

    def body(client: Client) -> Gen:
        while len(servers := (yield client.servers())) < 2:
            yield parkcos.io(_soon())
        own, shared = yield (yield client.rtask_at(servers[0], begins, note, str(tmp_path))).result()
        assert os.path.isdir(own)
        yield client.close_server(servers[0])
        while servers[0] in (yield client.servers()):
            yield parkcos.io(_soon())
        while not os.path.exists(tmp_path / "packed.gz") or os.path.exists(own):
            yield parkcos.io(_soon())
        assert (yield (yield client.rtask_at(servers[1], exists, shared)).result()), "the others use it on"
        return own, shared

    own, shared = with_client(body, node_setup=sets_up(note))
    assert not os.path.exists(own)
    assert not os.path.exists(shared), "it goes with the client"
    assert (tmp_path / "text").read_text() == "in a buffer"
    with gzip.open(tmp_path / "packed.gz", "rt") as packed:
        assert packed.read() == "in two buffers"
    lines = Path(note).read_text().splitlines()
    assert lines == ["a thread was waited for", "atexit", "of node_setup", "not yet written"]


async def _soon() -> None:
    import asyncio

    await asyncio.sleep(0.01)


def hangs() -> Gen:
    """At its end, for ever."""
    yield
    atexit.register(threading.Event().wait)
    thread = threading.Thread(target=threading.Event().wait)
    thread.start()
    close_server(restart=True)


def pid() -> Gen:
    yield
    return os.getpid()


def test_an_end_that_hangs_is_bounded() -> None:
    def body(client: Client) -> Gen:
        while len(servers := (yield client.servers())) < 2:
            yield parkcos.io(_soon())
        yield (yield client.rtask_at(servers[0], hangs)).finish()
        while servers[0] in (left := (yield client.servers())) or len(left) < 2:
            yield parkcos.io(_soon())
        return (yield (yield client.rtask(pid)).result())

    assert with_client(body)
