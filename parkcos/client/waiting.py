"""What a client says while it waits, for its turn, nodes, or its end; and which other client gives way to it."""

from __future__ import annotations

import logging
import time
from typing import Any

from parkcos.client.shell import CLOSED, RUNNING, WAITING, ClientShell, shown
from parkcos.client.side import SAY_S

logger = logging.getLogger("parkcos")


class Waiting(ClientShell):
    """One for each client."""

    @property
    def _place_in_queue(self) -> int:
        """1: it has its turn.  A client that waits has been told how many are before it, or soon will be."""
        return max(1, self._position) + 1 if self._state is WAITING else 1

    def _say(self, client: int) -> None:
        """I/O thread: every few seconds, what this client waits for."""
        if self._state is not CLOSED and client == self._id:
            self._network.io.loop.call_later(SAY_S, self._waits_for, client)

    def _waits_for(self, client: int) -> None:
        machine = self._machine
        if client != self._id:
            return
        if self._state is WAITING:
            logger.warning("%s", self._why_it_waits())
            for other in self._before():
                if other._is_left():
                    logger.warning("%s gives way to it: its task has ended, and it runs nothing", other.name)
                    self._kernel.post(other._begin_close, False)
        elif self._state is RUNNING and not self._ready_servers and not machine.stage.closing:
            if machine.nodes:
                which = "a node" if len(machine.nodes) == 1 else f"{len(machine.nodes)} nodes"
                _, why = self._held_back()
                why = f": {why}" if why else ""
                logger.warning("%s waits for the servers of %s to be ready%s", self.name, which, why)
            else:
                seen = "; ".join(f"{name}: {why}" for name, why in self._unusable.items())
                if seen and all("another client" in why for why in self._unusable.values()):
                    logger.warning("%s has no node yet, those that it has seen are in use: %s", self.name, seen)
                    return self._say(client)
                missing = "; ".join(f"{at}: {why}" for at, why in self._side.not_reached())
                logger.warning(
                    "%s has no node %s. Start one on each machine with  parkcosnode.py  (the same secret, UDP port %d "
                    "open), or name one: Client(nodes=['HOST']); parkcos.py --doctor HOST  says what hinders. %s%s",
                    self.name,
                    "any more" if self._had_servers else "yet",
                    self._network.options.udp_port,
                    f"Seen, but not usable: {seen}" if seen else "None was seen on the network",
                    f". Named, but not reached: {missing}" if missing else "",
                )
        elif self._state is RUNNING and not machine.stage.closing and (held := self._held_back())[1]:
            waiting = "a task waits" if held[0] == 1 else f"{held[0]} tasks wait"
            logger.warning("%s: %s for what is given none: %s", self.name, waiting, held[1])
        elif self._state is RUNNING and not machine.stage.closing and (unmet := machine.queue.choices.unmet()):
            waiting = "a task waits" if unmet == 1 else f"{unmet} tasks wait"
            there = len(self._open_servers)
            logger.warning("%s: %s for a server that `where` accepts; none of %d is", self.name, waiting, there)
        elif self._state is RUNNING and self._server_waits:
            wanted = max(self._server_waits.values(), default=0)
            logger.warning("%s waits for %d servers: %d are ready", self.name, wanted, len(self._open_servers))
        elif machine.stage.closing and self._state is RUNNING:
            tasks, nodes = len(machine.tasks), len(machine.nodes)
            logger.warning("%s is closing: waits for %d tasks and %d nodes", self.name, tasks, nodes)
        self._say(client)

    def _held_back(self) -> tuple[int, str]:
        """How many tasks wait for nodes and servers that are given none, and which these are and why."""
        with self._lock:
            count, why = self._machine.holds.held_back()
            names = {number: shown(info) for number, info in self._infos.items()}
        named = (f"{names.get(n) or f'the server at {self._locations.get(n)}'}: {reason}" for n, reason in why.items())
        return count, "; ".join(named)

    def _is_left(self) -> bool:
        """Nobody will close it, as it seems: its task has ended without, and it runs nothing."""
        owner, machine = self._owner, self._machine
        left = owner is not None and not owner.is_alive() and not self._in_block
        return left and self._state is RUNNING and not machine.tasks and not machine.stage.closing

    def _before(self) -> list[Any]:
        """The clients of this program that have the nodes this one waits for."""
        others = list(self._side.clients.values())
        return [other for other in others if other._state is RUNNING and other._scheduler == self._scheduler]

    def _why_it_waits(self) -> str:
        text = f"{self.name} waits for its turn: it is number {self._place_in_queue} in the queue"
        queued = self._queued
        if queued is not None and queued.holder:
            held_s = queued.held_s + time.monotonic() - self._queued_at
            who = "1 client waits" if queued.waiting == 1 else f"{queued.waiting} clients wait"
            text += f" ({queued.holder} has had the nodes for {_in_words(held_s)}; {who})"
        for other in self._before():
            text += f", behind {other.name} of this very program"
            if other._machine.stage.closing:
                text += ", which is being closed"
            elif other._owner is not None and not other._owner.is_alive():
                text += f", which {other._owner.name} has scheduled and not closed; write: with client: ..."
            else:
                text += ", which is not closed yet"
        return text


def _in_words(duration_s: float) -> str:
    for unit_s, unit in ((3600, "h"), (60, "min")):
        if duration_s >= 2 * unit_s:
            return f"{duration_s / unit_s:.0f} {unit}"
    return f"{duration_s:.0f} s"
