"""What can be typed at a node's prompt, and what it answers.  Pure: `console.py` reads and acts.

Source: chapter 6.2, `--daemon`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parkcos.program import prompt
from parkcos.program.prompt import Command

PROMPT = "parkcosnode> "

COMMANDS = {
    "status": "show each process, the client, and how many tasks it runs",
    "close": "end the present client's tasks and servers; another client can have the node then",
    "quit": "take no client and no task any more, end when the running ones have ended (also: exit)",
    "terminate": "end the running tasks, and the node, at once",
    "cpus": "cpus N: offer so many servers to the next client (as -c: 0 all processors, -N all but N)",
    "help": "show this",
}


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One server process.

    pid: 0 while it starts; ending: it is to end, or has ended; own: it is beside the servers.
    """

    number: int
    pid: int
    tasks: int
    ending: bool = False
    own: bool = False


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node, as `status` shows it.  zygotes: the ids of the processes from which servers are forked."""

    name: str
    location: str
    pid: int
    phase: str
    cpus: int
    client: str
    zygotes: Sequence[int]
    servers: Sequence[ServerStatus]
    clients_served: int
    closed: str = ""
    stopping: bool = False


def parse_command(line: str) -> Command | None:
    """The command in a line; None for an empty one.  Raises: UsageError, with the commands that there are."""
    return prompt.parse_command(line, COMMANDS, frozenset({"cpus"}))


def status_text(node: NodeStatus) -> str:
    """The answer to `status`, a process a line."""
    doing = {
        "free": "serves nobody",
        "reserved": "is reserved for a client",
        "setup": "is being set up for a client",
        "serving": "serves a client",
        "closing": "ends a client's servers",
        "wiping": "removes a client's files",
    }.get(node.phase, node.phase)
    lines = [f"node {node.name} at {node.location}, pid {node.pid}: {doing}; clients served: {node.clients_served}"]
    if node.stopping:
        lines.append("  ends when its client has gone")
    if node.closed:
        lines.append(f"  {node.closed}")
    if node.client:
        lines.append(f"  client: {node.client}")
    lines += [f"  process that starts servers, pid {pid}" for pid in node.zygotes]
    for server in node.servers:
        pid = f"pid {server.pid}" if server.pid else "starting"
        tasks = f"{server.tasks} task{'' if server.tasks == 1 else 's'}"
        more = (", beside the servers" if server.own else "") + (", ending" if server.ending else "")
        lines.append(f"  server {server.number}, {pid}: {tasks}{more}")
    if not node.servers:
        lines.append(f"  no server runs; the next client gets up to {node.cpus}")
    return "\n".join(lines)
