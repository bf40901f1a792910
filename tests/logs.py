"""What the programs of a test have said: the report of a test that fails shows it."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

CHARS_MAX = 60_000
"""Of each log in a report; of a longer one its beginning and its end are shown, in equal parts."""


@dataclass
class _Log:
    name: str
    text: Callable[[], str]
    grows: Callable[[], bool]


_logs: list[_Log] = []


def show(name: str, text: Callable[[], str], grows: Callable[[], bool]) -> None:
    """Show what a program has said, if a test fails.

    Args:
        name: of the program, for the reader of the report.
        text: gives what it has said until now.
        grows: gives whether it still runs; then it belongs to the tests that follow as well.
    """
    _logs.append(_Log(name, text, grows))


def run(command: Sequence[str], timeout_s: float, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end with both its streams captured as text; options: of `subprocess.run`."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, **options)
    except subprocess.TimeoutExpired as late:
        _show_streams(command, late.stdout, late.stderr)
        raise
    _show_streams(command, done.stdout, done.stderr)
    return done


def communicate(process: subprocess.Popen[str], timeout_s: float) -> tuple[str, str]:
    """Wait for the end of a program whose streams are pipes; what came from them."""
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as late:
        _show_streams(process.args, late.stdout, late.stderr)
        raise
    _show_streams(process.args, output, errors)
    return output, errors


def _show_streams(command: Any, *streams: str | bytes | None) -> None:
    """After a time-out a stream comes as bytes, whatever was asked for."""
    texts = [s.decode(errors="replace") if isinstance(s, bytes) else s or "" for s in streams]
    show(shlex.join(map(str, command)), lambda: "\n".join(texts), lambda: False)


def _shortened(text: str) -> str:
    left_out = len(text) - CHARS_MAX
    if left_out <= 0:
        return text
    half = CHARS_MAX // 2
    return f"{text[:half]}\n... {left_out} characters are left out here ...\n{text[-half:]}"


class Logs:
    """The plugin of pytest that puts the logs into the reports."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.failed:
            for log in _logs:
                report.sections.append((f"log of {log.name}", _shortened(log.text()) or "(nothing)"))
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        try:
            return (yield)
        finally:
            _logs[:] = [log for log in _logs if log.grows()]
