"""Which servers the program's own functions accept: `where` of `Client.submit`, where it is a function."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from parkcos.client import dispatch_events as d
from parkcos.client.facts import Chooser, NodeFacts, ServerFacts
from parkcos.errors import UsageError
from parkcos.net.location import Location

if TYPE_CHECKING:
    from parkcos.client.shell import ClientShell

logger = logging.getLogger("parkcos")


class Choosing:
    """One for each client.  indexes: the number of each server at its node.

    The functions are called without the client's lock: they are users' code.
    """

    def __init__(self, shell: ClientShell, indexes: Mapping[int, int]) -> None:
        self._shell = shell
        self._indexes = indexes
        self._numbers: dict[Chooser, int] = {}
        self._accepted: dict[int, set[int]] = {}
        """By number: the servers that each accepts."""
        self._entering: Counter[int] = Counter()
        """Submissions that are on their way to the machine."""
        self._count = itertools.count(1).__next__
        self._failed: set[int] = set()
        """Functions of which it was said that they have failed."""

    @property
    def is_used(self) -> bool:
        """Whether there is a function to be asked about a server that comes."""
        return bool(self._numbers)

    def number_of(self, fn: Chooser) -> int:
        """The machine's number for what `fn` accepts; `entered` follows.  Any thread.  Raises: what `fn` raises."""
        shell = self._shell
        try:
            hash(fn)
        except TypeError:
            text = f"submit(where={fn!r}): it has no hash\n  write: where=it.__call__  for an object that is called"
            raise UsageError(text) from None
        with shell.lock:
            self._forget_unused()
            number = self._numbers.get(fn)
            known = number is not None
            if number is None:
                number = self._numbers[fn] = self._count()  # from now on it is asked about each server that comes
                self._accepted[number] = set()
            self._entering[number] += 1
            places = [] if known else list(self._places(shell.machine.servers))
        try:
            accepted = {server for server, node, facts in places if fn(node, facts)}
        except BaseException:
            with shell.lock:
                self._entering[number] -= 1
            raise
        with shell.lock:
            self._accepted[number] |= accepted
        return number

    def entered(self, number: int) -> None:
        """A task that is placed by this function is known to the machine."""
        with self._shell.lock:
            self._entering[number] -= 1
            choice = self._shell.machine.queue.choices.by_number.get(number)
            if choice is not None and (more := self._accepted[number] - choice.servers.keys()):
                self._shell.handle(d.Admitted(number, tuple(sorted(more))))

    def server_is_ready(self, server: int) -> None:
        """Kernel thread: ask all functions about it."""
        shell = self._shell
        with shell.lock:
            self._forget_unused()
            places = list(self._places([server]))
            asked = list(self._numbers.items())
        for _, node, facts in places:
            for fn, number in asked:
                if self._accepts(fn, number, node, facts):
                    with shell.lock:
                        if number in self._accepted:
                            self._accepted[number].add(server)
                            shell.handle(d.Admitted(number, (server,)))

    def _accepts(self, fn: Chooser, number: int, node: NodeFacts, facts: ServerFacts) -> bool:
        try:
            return bool(fn(node, facts))
        except Exception:
            if number not in self._failed:
                self._failed.add(number)
                logger.exception("%s: where=%r failed for %s, where it runs nothing", self._shell.name, fn, facts.name)
            return False

    def _forget_unused(self) -> None:
        """Keep no function whose tasks have all ended, and no server that is gone.  With the lock."""
        machine = self._shell.machine
        for fn, number in list(self._numbers.items()):
            if number not in machine.queue.choices.by_number and not self._entering[number]:
                del self._numbers[fn], self._accepted[number], self._entering[number]
                self._failed.discard(number)
        for accepted in self._accepted.values():
            accepted &= machine.servers.keys()

    def _places(self, servers: Iterable[int]) -> Iterable[tuple[int, NodeFacts, ServerFacts]]:
        shell = self._shell
        machine = shell.machine
        for number in servers:
            server = machine.servers.get(number)
            node = machine.nodes.get(server.node) if server is not None else None
            if server is None or node is None or server.own:
                continue
            info, index = node.info, self._indexes.get(number, 0)
            facts = NodeFacts(
                info.name,
                Location(info.addr, info.port),
                info.cpus,
                info.platform,
                info.memory,
                info.disk,
                dict(info.resources),
            )
            yield number, facts, ServerFacts(f"{info.name}/{index}", Location(server.addr, server.port), index)
