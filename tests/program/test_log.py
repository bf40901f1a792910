"""parkcos/program/log.py: a log whose reader may stop reading."""

from __future__ import annotations

import io
import logging
import os
import threading
from collections.abc import Iterator

import pytest

from parkcos.program.log import PatientHandler


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("test", logging.INFO, __file__, 1, text, None, None)


@pytest.fixture
def pipe() -> Iterator[tuple[int, io.TextIOWrapper]]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with open(writing, "w", buffering=1) as stream:
        yield reading, stream
    os.close(reading)


def test_what_nobody_takes_is_left_out_and_counted(pipe: tuple[int, io.TextIOWrapper]) -> None:
    reading, stream = pipe
    handler = PatientHandler(stream)
    handler.handle(record("first"))
    while handler.takes():
        handler.handle(record("x" * 2000))
    for _ in range(3):
        handler.handle(record("lost"))  # it would wait for ever
    assert not handler.takes(0.01)
    text = os.read(reading, 1 << 20).decode()
    assert text.startswith("first\nxxx")
    assert "lost" not in text
    assert handler.takes()
    handler.handle(record("again"))
    handler.handle(record("last"))
    text = os.read(reading, 1 << 20).decode()
    assert text == "3 lines of this log are left out: nobody took them\nagain\nlast\n"


def test_one_thread_waits_while_another_goes_on(pipe: tuple[int, io.TextIOWrapper]) -> None:
    reading, stream = pipe
    handler = PatientHandler(stream)
    while handler.takes():
        handler.handle(record("x" * 2000))
    waiting = threading.Thread(target=handler.takes, args=(None,))
    waiting.start()
    for _ in range(100):
        handler.handle(record("lost"))
    assert waiting.is_alive()
    os.read(reading, 1 << 20)
    waiting.join(10)
    assert not waiting.is_alive()


def test_a_stream_without_a_descriptor() -> None:
    stream = io.StringIO()
    handler = PatientHandler(stream)
    handler.handle(record("shown"))
    assert stream.getvalue() == "shown\n"
