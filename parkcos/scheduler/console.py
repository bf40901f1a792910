"""What a shared scheduler does at its prompt.  Everything here happens in the I/O thread.  Source: chapter 6.3."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from parkcos.net.location import Location
from parkcos.program.console import Console
from parkcos.program.prompt import help_text, parse_command
from parkcos.scheduler.state import SchedulerMachine

if TYPE_CHECKING:
    from parkcos.scheduler.service import SchedulerService

PROMPT = "parkcos> "
COMMANDS = {
    "status": "show the clients in their order, and the nodes",
    "quit": "end the scheduler (also: exit); started again soon, it takes up where it was",
    "help": "show this",
}


class SchedulerConsole(Console):
    """Commands for a scheduler.  stop: ends it."""

    def __init__(self, service: SchedulerService, stop: Callable[[], None], stopped: Callable[[], bool]) -> None:
        super().__init__(service.network.io.loop, self.obey, stopped, COMMANDS, PROMPT)
        self._service = service
        self._stop = stop

    def obey(self, line: str) -> str:
        """Do what the line says; returns the answer.  Raises: ParkcosError."""
        command = parse_command(line, COMMANDS)
        if command is None:
            return ""
        if command.name == "status":
            return status_text(self._service.machine)
        if command.name == "help":
            return help_text(COMMANDS)
        self._stop()
        return "ends"


def status_text(machine: SchedulerMachine) -> str:
    """The answer to `status`: clients and nodes, one a line."""
    lines = []
    for place, client in enumerate(machine.queue.values()):
        what = f"waits, number {place + 1}" if place else "has its turn"
        gone = "" if client.absent_until is None else "; it has not come back yet"
        lines.append(f"client {client.name} at {Location(client.addr, client.port)}: {what}{gone}")
    if not lines:
        lines.append("no client")
    names = {client.client: client.name for client in machine.queue.values()}
    for node in machine.nodes.values():
        info = node.info
        whom = names.get(node.client, "a client of another scheduler" if node.client > 0 else "")
        doing = node.info.closed or f"{node.state}{f' for {whom}' if whom else ''}"
        lines.append(f"node {info.name} at {Location(info.addr, info.port)}, {info.cpus} processors: {doing}")
    if not machine.nodes:
        lines.append("no node")
    return "\n".join(lines)
