"""parkcos/client/sent.py: what was sent and not released, for the next run of the program."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from parkcos.client import sent
from parkcos.client.sent import NotedTask, Sent
from parkcos.errors import ConfigError
from tests.client.driven import N, info


def noted(number: int, server: int = N + 1) -> NotedTask:
    return NotedTask(number, f"work{number}", "d" * 32, False, N, server)


def test_the_next_run_finds_what_was_sent_and_not_released(tmp_path: Path) -> None:
    first = Sent(tmp_path / "tasks")
    first.node(info(N), 2, {0: "grant", 5: "of a space"})
    first.node(info(N + 1000), 2, {})
    for number in (1, 2, 3):
        first.task(noted(number))
    first.task(noted(2, N + 2))  # it is run again elsewhere
    first.released([1, 77])
    first.node_left(N + 1000)
    second = Sent(tmp_path / "tasks")  # the first was killed
    assert second.tasks == {2: noted(2, N + 2), 3: noted(3)}
    assert [(each.info, each.cpus, each.grants) for each in second.nodes.values()] == [
        (info(N), 2, {0: "grant", 5: "of a space"})
    ]
    assert list(second.recent) == [1], "its server may not have heard of it"
    second.close(forget=False)
    assert Sent(tmp_path / "tasks").tasks == second.tasks
    second.close(forget=True)
    assert not (tmp_path / "tasks").exists()


def test_a_half_written_line_is_left_out_silently(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "tasks"
    first = Sent(path)
    first.task(noted(1))
    first.close(forget=False)
    with path.open("ab") as file:
        file.write(b'{"type":"task","number":2,')
    assert list(Sent(path).tasks) == [1]
    assert not caplog.records
    path.write_bytes(b"what is this\n" + path.read_bytes())
    assert list(Sent(path).tasks) == [1]
    assert "line 1 cannot be understood" in caplog.text


def test_the_file_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent, "LINES_MAX", 50)
    monkeypatch.setattr(sent, "RECENT_MAX", 10)
    file = Sent(tmp_path / "tasks")
    for number in range(1, 1001):
        file.task(noted(number))
        if number > 5:
            file.released([number - 5])
    assert len((tmp_path / "tasks").read_bytes().splitlines()) < 100
    assert list(Sent(tmp_path / "tasks").tasks) == [996, 997, 998, 999, 1000]
    assert len(file.recent) == 10


def test_a_full_disk_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = Sent(tmp_path / "tasks")
    full = os.open("/dev/full", os.O_WRONLY)
    file._fd, own = full, file._fd
    with caplog.at_level(logging.ERROR):
        file.task(noted(1))
        file.task(noted(2))
    assert len(caplog.records) == 1
    assert "No space left" in caplog.text
    assert list(file.tasks) == [1, 2]
    file._fd = own
    os.close(full)
    file.close(forget=True)


def test_a_file_that_cannot_be_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be used: Is a directory"):
        Sent(tmp_path)
