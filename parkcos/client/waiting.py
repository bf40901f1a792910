"""What a client says in the log while it waits: for its turn, for nodes and servers, for its end."""

from __future__ import annotations

import logging

from parkcos.client.nodes import Nodes
from parkcos.client.room import open_servers
from parkcos.client.shell import CLOSED, RUNNING, WAITING, ClientShell, shown
from parkcos.client.side import SAY_S
from parkcos.client.turn import Turn

logger = logging.getLogger("parkcos")


class Waiting:
    """One for each client."""

    def __init__(self, shell: ClientShell, nodes: Nodes, turn: Turn) -> None:
        self._shell = shell
        self._nodes = nodes
        self._turn = turn

    def say(self, client: int) -> None:
        """I/O thread: every few seconds, what this client waits for."""
        shell = self._shell
        if shell.state is not CLOSED and client == shell.id:
            shell.network.io.loop.call_later(SAY_S, self._waits_for, client)

    def _waits_for(self, client: int) -> None:
        shell = self._shell
        machine = shell.machine
        if client != shell.id:
            return
        if shell.state is WAITING:
            logger.warning("%s", self._turn.why_it_waits())
            for other, _ in self._turn.before():
                other.give_way()
        elif shell.state is RUNNING and machine.returning.active:
            nodes, servers = machine.returning.waits_for()
            logger.warning(
                "%s returns: waits for %d nodes and %d servers of its earlier program", shell.name, nodes, servers
            )
        elif shell.state is RUNNING and not shell.ready and not machine.stage.closing:
            if machine.nodes:
                which = "a node" if len(machine.nodes) == 1 else f"{len(machine.nodes)} nodes"
                _, why = self._held_back()
                why = f": {why}" if why else ""
                logger.warning("%s waits for the servers of %s to be ready%s", shell.name, which, why)
            else:
                seen = "; ".join(f"{name}: {why}" for name, why in self._nodes.unusable.items())
                if seen and all("another client" in why for why in self._nodes.unusable.values()):
                    logger.warning("%s has no node yet, those that it has seen are in use: %s", shell.name, seen)
                    return self.say(client)
                missing = "; ".join(f"{at}: {why}" for at, why in shell.side.not_reached())
                logger.warning(
                    "%s has no node %s. Start one on each machine with  parkcosnode.py  (the same secret, UDP port %d "
                    "open), or name one: Client(nodes=['HOST']); parkcos.py --doctor HOST  says what hinders. %s%s",
                    shell.name,
                    "any more" if self._nodes.had_servers else "yet",
                    shell.network.options.udp_port,
                    f"Seen, but not usable: {seen}" if seen else "None was seen on the network",
                    f". Named, but not reached: {missing}" if missing else "",
                )
        elif shell.state is RUNNING and not machine.stage.closing and (held := self._held_back())[1]:
            waiting = "a task waits" if held[0] == 1 else f"{held[0]} tasks wait"
            logger.warning("%s: %s for what is given none: %s", shell.name, waiting, held[1])
        elif shell.state is RUNNING and not machine.stage.closing and (unmet := machine.queue.choices.unmet()):
            waiting = "a task waits" if unmet == 1 else f"{unmet} tasks wait"
            there = len(open_servers(machine))
            logger.warning("%s: %s for a server that `where` accepts; none of %d is", shell.name, waiting, there)
        elif shell.state is RUNNING and shell.waits.for_servers:
            wanted = max(shell.waits.for_servers.values(), default=0)
            logger.warning("%s waits for %d servers: %d are ready", shell.name, wanted, len(open_servers(machine)))
        elif machine.stage.closing and shell.state is RUNNING:
            tasks, nodes = len(machine.tasks), len(machine.nodes)
            logger.warning("%s is closing: waits for %d tasks and %d nodes", shell.name, tasks, nodes)
        self.say(client)

    def _held_back(self) -> tuple[int, str]:
        """How many tasks wait for nodes and servers that are given none, and which these are and why."""
        with self._shell.lock:
            count, why = self._shell.machine.holds.held_back()
            names = {number: shown(info) for number, info in self._nodes.infos.items()}
        named = (
            f"{names.get(n) or f'the server at {self._shell.locations.get(n)}'}: {reason}" for n, reason in why.items()
        )
        return count, "; ".join(named)
