"""parkcos/node/prompt.py"""

from __future__ import annotations

import pytest

from parkcos.errors import UsageError
from parkcos.node.prompt import COMMANDS, NodeStatus, ServerStatus, parse_command, status_text
from parkcos.program.prompt import Command, help_text


def test_commands() -> None:
    for name in COMMANDS:
        if name != "cpus":
            assert parse_command(f"  {name.upper()} \r") == Command(name)
        assert name in help_text(COMMANDS)
    assert parse_command("exit") == Command("quit")
    assert parse_command("?") == Command("help")
    assert parse_command(" \t") is None
    assert parse_command("cpus 4") == Command("cpus", 4)
    assert parse_command("cpus -1") == Command("cpus", -1)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "stats",
            "there is no command 'stats', perhaps 'status'; commands: status, close, quit, terminate, cpus, help",
        ),
        ("\x00\ufffd", "there is no command"),
        ("cpus", "write cpus and one number"),
        ("cpus 1 2", "write cpus and one number"),
        ("cpus 1.5", "write cpus and one number"),
        ("quit now", "quit takes nothing more; it was given 'now'"),
    ],
)
def test_what_is_no_command(line: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_command(line)
    assert words in str(caught.value)


def test_status() -> None:
    servers = [ServerStatus(1, 12, 1), ServerStatus(2, 0, 0), ServerStatus(3, 13, 2, ending=True)]
    servers += [ServerStatus(4, 14, 1, own=True), ServerStatus(5, 15, 0, ending=True, own=True)]
    node = NodeStatus("n1", "10.0.0.1:9706", 10, "serving", 3, "someone at 10.0.0.2:5000", [11], servers, 4)
    assert status_text(node).splitlines() == [
        "node n1 at 10.0.0.1:9706, pid 10: serves a client; clients served: 4",
        "  client: someone at 10.0.0.2:5000",
        "  process that starts servers, pid 11",
        "  server 1, pid 12: 1 task",
        "  server 2, starting: 0 tasks",
        "  server 3, pid 13: 2 tasks, ending",
        "  server 4, pid 14: 1 task, beside the servers",
        "  server 5, pid 15: 0 tasks, beside the servers, ending",
    ]
    idle = NodeStatus("n1", "10.0.0.1:9706", 10, "free", 3, "", [], [], 0, "not in service until 17:00", stopping=True)
    assert status_text(idle).splitlines() == [
        "node n1 at 10.0.0.1:9706, pid 10: serves nobody; clients served: 0",
        "  ends when its client has gone",
        "  not in service until 17:00",
        "  no server runs; the next client gets up to 3",
    ]
