"""What a node does at its prompt.  Everything here happens in the I/O thread."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from parkcos.node import state_events as ev
from parkcos.node.prompt import COMMANDS, PROMPT, NodeStatus, ServerStatus, parse_command, status_text
from parkcos.program.console import Console
from parkcos.program.prompt import help_text

if TYPE_CHECKING:
    from parkcos.node.program import NodeProgram

BY_HAND = "its node was closed by its operator"


class NodeConsole(Console):
    """Commands for a node."""

    def __init__(self, program: NodeProgram) -> None:
        super().__init__(program.loop, self.obey, lambda: program.stopped, COMMANDS, PROMPT)
        self.program = program

    def obey(self, line: str) -> str:
        """Do what the line says; returns the answer.  Raises: ParkcosError."""
        program, command = self.program, parse_command(line)
        if command is None:
            return ""
        match command.name:
            case "status":
                return status_text(self.status())
            case "help":
                return help_text(COMMANDS)
            case "cpus":
                return f"the next client gets up to {program.set_cpus(command.number)} servers"
            case "close":
                if not program.machine.client:
                    return "there is no client"
                program.handle(ev.CloseAsked(program.machine.client, terminate=True, why=BY_HAND))
                return "the client is being closed"
            case "quit":
                client = program.machine.client
                program.stop(terminate=False)
                if client and program.machine.client == client:
                    program.handle(ev.CloseAsked(client, terminate=False, why=BY_HAND))
                    return "ends when the running tasks have ended"
                return "ends"
            case "terminate":
                program.stop(terminate=True)
                return "ends now"
        raise AssertionError(command)

    def status(self) -> NodeStatus:
        """The node, as it is now."""
        program = self.program
        machine, network = program.machine, program.network
        peer = network.hub.by_incarnation.get(machine.client_process) if machine.client else None
        servers = []
        for server in machine.servers.by_index.values():
            tally = program.tally(server.index)
            ending = server.asked or not server.alive
            pid, own = tally.pid if server.alive else 0, bool(server.own)
            servers.append(ServerStatus(server.index + 1, pid, tally.tasks, ending, own))
        return NodeStatus(
            name=network.name,
            location=str(network.location),
            pid=os.getpid(),
            phase=machine.phase,
            cpus=program.options.cpus,
            client=repr(peer) if peer is not None else "it is gone" if machine.client else "",
            zygotes=[pid for pid, what in program.processes().items() if what == "zygote"],
            servers=servers,
            clients_served=machine.clients_served,
            closed=machine.closed,
            stopping=machine.stopping,
        )
