"""parkcos/client/forwarded.py: what tasks print elsewhere, shown here."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from parkcos.client.forwarded import WAITING_BYTES_MAX, Forwarded
from parkcos.cluster import messages as m


class Kernel:
    """What was posted runs when it is told to."""

    def __init__(self) -> None:
        self.posted: list[tuple[Callable[..., None], Any]] = []

    def post(self, fn: Callable[..., None], *args: Any) -> None:
        self.posted.append((fn, args))

    def run(self) -> None:
        while self.posted:
            fn, args = self.posted.pop(0)
            fn(*args)


def test_each_line_says_where_it_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    kernel = Kernel()
    shown = Forwarded(kernel.post)
    shown.received("kiln", m.Output(1, 2, False, 0), "é one\n\n".encode())
    shown.received("kiln", m.Output(1, 2, True, 0), b"bad\n")
    shown.received("oven", m.Output(1, 0, False, 1), memoryview(b"setup\n"))
    shown.received("oven", m.Output(1, 0, False, 30), b"")
    assert capsys.readouterr() == ("", ""), "where the program's own tasks print"
    kernel.run()
    out, err = capsys.readouterr()
    assert out == "[kiln/2] é one\n[kiln/2] \n[oven] setup\n"
    assert err == (
        "[kiln/2] bad\n"
        "[oven] 1 line left out: they came faster than this program took them\n"
        "[oven] 30 lines left out: they came faster than this program took them\n"
    )


def test_while_the_kernel_thread_computes_no_more_than_a_bound_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    kernel = Kernel()
    shown = Forwarded(kernel.post)
    line = b"x" * 9999 + b"\n"
    fit = WAITING_BYTES_MAX // len(line) + 1
    for _ in range(fit):
        shown.received("kiln", m.Output(1, 1, False, 0), line)
    shown.received("kiln", m.Output(1, 1, False, 5), line * 2)
    assert len(kernel.posted) == fit
    kernel.run()
    out, err = capsys.readouterr()
    assert out.count("\n") == fit
    assert err == "[tasks] 7 lines left out: they came while this program was busy\n"
    shown.received("kiln", m.Output(1, 1, False, 0), b"again\n")
    kernel.run()
    assert capsys.readouterr() == ("[kiln/1] again\n", "")


def test_a_stream_that_cannot_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel()
    shown = Forwarded(kernel.post)
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    shown.received("kiln", m.Output(1, 1, False, 0), "é\n".encode())
    kernel.run()
    assert raw.getvalue() == b"[kiln/1] \\xe9\n"
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        monkeypatch.setattr("sys.stdout", stream)
        shown.received("kiln", m.Output(1, 1, False, 0), b"nobody sees it\n")
        kernel.run()
