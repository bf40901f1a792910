"""The prompt of a node: reads commands from standard input, if that is a terminal or a pipe, and does them.

Everything here happens in the I/O thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from typing import TYPE_CHECKING

from parkcos.errors import ParkcosError
from parkcos.node import state_events as ev
from parkcos.node.prompt import (
    COMMANDS,
    PROMPT,
    Command,
    NodeStatus,
    ServerStatus,
    help_text,
    parse_command,
    status_text,
)

if TYPE_CHECKING:
    from parkcos.node.program import NodeProgram

logger = logging.getLogger("parkcos")

LINE_BYTES_MAX = 4096
FOREGROUND_S = 1.0
"""A node in the background of a terminal looks again after this time whether it has it."""
BY_HAND = "its node was closed by its operator"


def can_read(fd: int) -> bool:
    """Whether commands may come from there: a terminal, a pipe or a socket, and not a file, or nothing at all."""
    try:
        mode = os.fstat(fd).st_mode
        return os.isatty(fd) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
    except OSError:
        return False


class Console:
    """Commands for a node.  fd: where they come from."""

    def __init__(self, program: NodeProgram, fd: int = 0) -> None:
        self.program = program
        self.fd = fd
        self._buffer = b""
        self._reading = False
        self._terminal = os.isatty(fd)

    def start(self) -> None:
        """Read from now on, until the end of the input; the node runs on then."""
        if not can_read(self.fd):
            return
        self._say(f"commands: {', '.join(COMMANDS)}")
        self._read_on()

    def _read_on(self) -> None:
        if self.program.stopped:
            return
        if self._terminal and not _in_foreground(self.fd):
            self.program.loop.call_later(FOREGROUND_S, self._read_on)
            return
        self._reading = True
        self.program.loop.add_reader(self.fd, self._readable)

    def stop(self) -> None:
        """Read no more."""
        if self._reading:
            self._reading = False
            with contextlib.suppress(ValueError, OSError):
                self.program.loop.remove_reader(self.fd)

    def _readable(self) -> None:
        if self._terminal and not _in_foreground(self.fd):  # reading would stop this process
            self.stop()
            self._read_on()
            return
        try:
            data = os.read(self.fd, LINE_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if not data:
            self.stop()
            lines, self._buffer = [self._buffer], b""
        elif len(self._buffer) > LINE_BYTES_MAX:
            self._buffer = b""
            self._say("a line is too long, and left out")
        for line in lines:
            self._obey(line.decode(errors="replace"))

    def _obey(self, line: str) -> None:
        text = ""
        try:
            command = parse_command(line)
            text = self._do(command) if command is not None else ""
        except ParkcosError as error:
            text = str(error)
        self._say(text)

    def _say(self, text: str) -> None:
        prompt = PROMPT if self._terminal and not self.program.stopped else ""
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            print(f"{text}\n{prompt}" if text else prompt, end="", flush=True)

    def _do(self, command: Command) -> str:
        program = self.program
        match command.name:
            case "status":
                return status_text(self.status())
            case "help":
                return help_text()
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
        for server in machine.servers.values():
            tally = program.tally(server.index)
            ending = server.asked or not server.alive
            servers.append(ServerStatus(server.index + 1, tally.pid if server.alive else 0, tally.tasks, ending))
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


def _in_foreground(terminal: int) -> bool:
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:  # not this process's terminal: whoever gave it wants it read
        return True
