"""parkcos/node/output.py: bytes into lines, pipes that are read, and lines that a client is or is not sent."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from parkcos.cluster import messages as m
from parkcos.cluster import schemas
from parkcos.node import output
from parkcos.node.output import (
    BACKLOG_BYTES_MAX,
    LINE_BYTES_MAX,
    READ_BYTES,
    CopySink,
    Forwarding,
    Lines,
    LineSink,
    OutputThread,
    Printed,
)

pytestmark = pytest.mark.live  # threads and descriptors


@pytest.mark.parametrize(
    ("printed", "lines"),
    [
        (b"", []),
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\n\n", ["one", ""]),
        (b"no end", ["no end"]),
        (b"of Windows\r\n", ["of Windows"]),
        (b" 10%\r 20%\r100%\n", ["100%"]),
        (b" 10%\r 20%\r", [" 20%"]),
        ("é汉".encode(), ["é汉"]),
        (b"\xff\n", ["\\xff"]),
        (b"x" * (2 * LINE_BYTES_MAX + 1), ["x" * LINE_BYTES_MAX, "x" * LINE_BYTES_MAX, "x"]),
        (b"x" * LINE_BYTES_MAX + b"\n", ["x" * LINE_BYTES_MAX]),
        (
            b"x" + "é".encode() * LINE_BYTES_MAX,
            ["x" + "é" * (LINE_BYTES_MAX // 2 - 1), "é" * (LINE_BYTES_MAX // 2), "é"],
        ),
    ],
)
@pytest.mark.parametrize("step", [1, 3, 4096, 1 << 20])
def test_lines(printed: bytes, lines: list[str], step: int) -> None:
    cutter = Lines()
    found = []
    for start in range(0, len(printed), step):
        found += cutter.feed(printed[start : start + step])
        assert len(cutter._rest) <= LINE_BYTES_MAX
    found += cutter.end()
    assert found == lines
    assert cutter.end() == []


@pytest.fixture
def thread() -> Iterator[OutputThread]:
    thread = OutputThread()
    yield thread
    thread.close()
    assert not thread._thread.is_alive()


class Taken:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.news = threading.Condition()

    def __call__(self, lines: list[str]) -> None:
        with self.news:
            self.lines += lines
            self.news.notify_all()

    def wait_for(self, lines: list[str]) -> None:
        with self.news:
            assert self.news.wait_for(lambda: self.lines == lines, 10), self.lines


def test_a_pipe_is_read_to_its_end_and_closed(thread: OutputThread) -> None:
    reading, writing = os.pipe()
    taken = Taken()
    thread.add(reading, LineSink(taken), "me")
    os.write(writing, b"one\ntw")
    taken.wait_for(["one"])
    os.write(writing, b"o\nthree")
    taken.wait_for(["one", "two"])
    os.close(writing)
    taken.wait_for(["one", "two", "three"])


def test_what_is_in_an_owners_pipes_is_taken_before_it_is_finished(thread: OutputThread) -> None:
    """Also if somebody still has their other ends, and goes on; other owners' are read on."""
    pipes = [os.pipe() for _ in range(3)]
    taken = [Taken() for _ in pipes]
    then = threading.Event()
    for (reading, writing), take, owner in zip(pipes, taken, ("me", "me", "other"), strict=True):
        thread.add(reading, LineSink(take), owner)
        os.write(writing, b"x\n" * 20000 + b"end")
    thread.finish("me", then.set, 10)
    assert then.is_set()
    assert [take.lines[-1] for take in taken[:2]] == ["end", "end"]
    assert len(taken[0].lines) == len(taken[1].lines) == 20001
    with pytest.raises(BrokenPipeError):
        os.write(pipes[0][1], b"more")
    os.write(pipes[2][1], b"\nmore\n")
    taken[2].wait_for(["x"] * 20000 + ["end", "more"])
    for _, writing in pipes:
        os.close(writing)


def test_one_that_cannot_be_shown_does_not_keep_others(thread: OutputThread, caplog: pytest.LogCaptureFixture) -> None:
    (bad, to_bad), (good, to_good) = os.pipe(), os.pipe()

    def fails(lines: list[str]) -> None:
        raise ValueError("no")

    taken = Taken()
    thread.add(bad, LineSink(fails), "me")
    thread.add(good, LineSink(taken), "me")
    os.write(to_bad, b"one\n")
    os.write(to_good, b"one\n")
    taken.wait_for(["one"])
    os.close(to_bad)
    os.write(to_good, b"two\n")
    taken.wait_for(["one", "two"])
    os.close(to_good)
    thread.close()
    assert "what tasks print cannot be shown" in caplog.text


def test_a_log_that_nobody_reads_holds_up_an_end_no_longer_than_said(
    thread: OutputThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "FINISH_S", 0.05)
    reads = threading.Event()
    sent: list[Any] = []

    def send(server: int, error: bool, lines: list[str]) -> None:
        reads.wait(10)
        sent.append((server, error, lines))

    pipes = [os.pipe(), os.pipe()]
    printed = Printed(thread, "kiln", log=False)
    printed.send_to(send)
    printed.add(2, pipes[0][0], pipes[1][0])
    os.write(pipes[1][1], b"bad\n")
    printed.finish()
    assert sent == []
    reads.set()
    monkeypatch.setattr(output, "FINISH_S", 10)
    printed.finish()
    assert sent[:2] == [(2, True, ["bad"]), (0, False, [])]
    for _, writing in pipes:
        os.close(writing)


def test_what_is_not_a_pipe_does_not_end_the_thread(thread: OutputThread, caplog: pytest.LogCaptureFixture) -> None:
    """A regular file cannot be waited for."""
    reading, writing = os.pipe()
    file = os.open(__file__, os.O_RDONLY)  # last: its number is nobody else's once it is closed
    thread.add(file, LineSink(Taken()), "me")
    taken = Taken()
    thread.add(reading, LineSink(taken), "me")
    os.write(writing, b"one\n")
    taken.wait_for(["one"])
    os.close(writing)
    assert "what tasks print cannot be shown" in caplog.text
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)


def test_a_copy_is_as_it_came_and_is_not_cut_within_a_line() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    copy = CopySink(writing)
    copy.feed(b"10%\r20%\x1b[0m")
    assert os.read(reading, 99) == b"10%\r20%\x1b[0m"
    copy.feed(b"x" * (READ_BYTES - 2) + b"\n" + b"y")
    assert os.read(reading, 2 * READ_BYTES) == b"x" * (READ_BYTES - 2) + b"\n"
    copy.feed(b"yy\n")
    assert os.read(reading, 99) == b"yyy\n"
    copy.feed(b"z" * READ_BYTES)
    assert os.read(reading, 2 * READ_BYTES) == b"z" * READ_BYTES, "a long line is not kept"
    copy.feed(b"\n" + b"z" * (READ_BYTES - 1))
    copy.end()
    assert os.read(reading, 2 * READ_BYTES) == b"\n" + b"z" * (READ_BYTES - 1)
    for fd in (reading, writing):
        os.close(fd)


def test_what_parkcos_logs_at_a_server_has_its_level(thread: OutputThread, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "parkcos")
    pipes = [os.pipe() for _ in range(3)]
    printed = Printed(thread, "kiln")
    printed.add(2, *(reading for reading, _ in pipes))
    os.write(pipes[2][1], "WARNING lost\nDEBUG at \x1b[2J \u202e\nof nobody\n".encode())
    os.write(pipes[0][1], b"WARNING printed\n")
    for _, writing in pipes:
        os.close(writing)
    printed.finish()
    logged = sorted((record.levelname, record.getMessage()) for record in caplog.records)
    assert logged == [
        ("DEBUG", "server kiln/2 (parkcos): at \\x1b[2J \\u202e"),
        ("INFO", "server kiln/2 (parkcos): of nobody"),
        ("INFO", "server kiln/2: WARNING printed"),
        ("WARNING", "server kiln/2 (parkcos): lost"),
    ]


class Box:
    """Of a process with one peer, which has so much to acknowledge."""

    def __init__(self) -> None:
        self.peer = SimpleNamespace(backlog_bytes=0)
        self.network = SimpleNamespace(hub=SimpleNamespace(by_incarnation={7: self.peer}))
        self.sent: list[tuple[m.Output, bytes]] = []

    def send(self, process: int, part: str, message: m.Output, form: int, buffers: Any) -> None:
        assert (process, part) == (7, "client")
        assert schemas.DECODERS["client"].decode(schemas.encode(message)) == message
        self.sent.append((message, b"".join(buffers)))


def test_a_client_that_is_behind_is_sent_no_lines_and_later_their_number() -> None:
    box: Any = Box()
    forward = Forwarding(box, 5, 7)
    forward(1, False, ["one", ""])
    box.peer.backlog_bytes = BACKLOG_BYTES_MAX + 1
    forward(1, False, ["two", "three"])
    forward(2, True, ["four"])
    assert box.sent == [(m.Output(5, 1, False, 0), b"one\n\n")]
    box.peer.backlog_bytes = 0
    forward(2, True, ["five"])
    forward(2, True, ["six"])
    assert box.sent[1:] == [(m.Output(5, 2, True, 3), b"five\n"), (m.Output(5, 2, True, 0), b"six\n")]
    forward(0, False, [])
    assert len(box.sent) == 3, "nothing is left to be said"
    box.peer.backlog_bytes = BACKLOG_BYTES_MAX + 1
    forward(1, False, ["seven"])
    forward(0, False, [])
    assert box.sent[3:] == [(m.Output(5, 0, False, 1), b"")]
    box.network.hub.by_incarnation.clear()
    forward(1, False, ["it is gone"])
    assert len(box.sent) == 4
