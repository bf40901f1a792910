"""Which node or server of a client its program means, by an address, a name or a Location."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from parkcos.client.nodes import Nodes
from parkcos.client.shell import RUNNING, ClientShell
from parkcos.cluster.node_info import NodeInfo
from parkcos.errors import ScheduleError, UsageError
from parkcos.net.finding.lookup import known, looked_up
from parkcos.net.location import Location


class Whereabouts:
    """Of the nodes and servers of one client."""

    def __init__(self, shell: ClientShell, nodes: Nodes) -> None:
        self._shell = shell
        self._nodes = nodes

    def server_at(self, what: str, location: Location) -> int:
        """The number of the server there.  what: the call that asks.  Raises: ScheduleError, UsageError."""
        server, _ = self._find(what, location)
        if not server:
            raise ScheduleError(f"{what}({location!r}): that is a node\n  write: the Location of a server")
        return server

    def node_at(self, what: str, where: Location | str) -> int:
        """The number of the node that `where` means.  what: the call that asks.  Raises: ScheduleError, UsageError."""
        server, node = self._find(what, where)
        if server:
            raise ScheduleError(f"{what}({where!r}): that is a server\n  write: the address or name of a node")
        return node

    def _find(self, what: str, where: Any) -> tuple[int, int]:
        if self._shell.state is not RUNNING:
            raise ScheduleError(f"{what}(): {self._shell!r} has no nodes\n  write: yield client.schedule()  first")
        if not isinstance(where, Location | str):
            raise UsageError(f"{what}({where!r}): give a Location, or the address or name of a node")
        if isinstance(where, Location) and not where.is_known:
            where = str(where)  # its name and port
        return self.place(where)

    def place(self, where: Any, addresses: Sequence[str] = ()) -> tuple[int, int]:
        """(server, node) numbers that `where` means; no name server is asked.

        addresses: those of `where`, if it is a name that was looked up.
        Raises: ScheduleError if there is none of them, or several.
        """
        if where is None:
            return 0, 0
        with self._shell.lock:
            nodes = self._shell.machine.nodes
            if isinstance(where, Location):
                for number, location in self._shell.locations.items():
                    if location == where and number in self._shell.machine.servers:
                        return number, 0
            meant = [number for number, node in nodes.items() if self._is_called(node.info, where, addresses)]
            if len(meant) == 1:
                return 0, meant[0]
            called = [f"{nodes[number].info.name} ({_at(nodes[number].info)})" for number in meant or nodes]
            servers = [str(location) for location in self._shell.locations.values()]
        if not meant:
            used = ", ".join([*called, *servers]) or "none yet"
            raise ScheduleError(f"this client uses no server or node at {where}; it uses {used}")
        if len({_at(nodes[number].info) for number in meant}) == 1:
            todo = "they announce one address: start each with  parkcosnode.py -i ADDRESS,  its own in their network"
        else:
            todo = f"write: {str(_at(nodes[meant[0]].info))!r}  or another one of these"
        raise ScheduleError(f"{where} may be {' or '.join(called)}\n  {todo}")

    def _is_called(self, info: NodeInfo, where: Location | str, addresses: Sequence[str]) -> bool:
        """Whether `where` is this node; `addresses` as of `place`."""
        if isinstance(where, Location):
            return where == _at(info)
        asked_for = self._nodes.matched.get(info.incarnation)
        names = [info.name] if asked_for is None else [info.name, asked_for.node]
        with_port = [str(_at(info)), *(f"{name}:{info.port}" for name in names)]
        return where in (info.addr, *names, *with_port) or info.addr in addresses

    def when_placed(
        self,
        where: Any,
        failed: Callable[[BaseException], object],
        is_wanted: Callable[[], bool],
        then: Callable[[int, int], object],
    ) -> None:
        """``then(server, node)``, at once or after `where` was looked up.  Any thread.

        failed: is told if nothing is there; is_wanted: whether somebody still wants to know.
        """

        def placed(_: bool | None, error: BaseException | None) -> None:
            if error is not None:
                failed(error)
            else:
                look(None, None)

        def look(addresses: Sequence[str] | None, _: BaseException | None) -> None:
            if not is_wanted():
                return
            try:
                then(*self.place(where, addresses or ()))
            except BaseException as error:
                failed(error)

        def ask() -> None:
            if isinstance(where, Location):
                known(self._shell.network, where).tell(placed)
            else:
                looked_up(self._shell.network, where).tell(look)

        if isinstance(where, Location) and not where.is_known:
            self._shell.kernel.post(ask)
            return
        try:
            server, node = self.place(where)
        except ScheduleError as error:
            if not isinstance(where, str) or not self._shell.machine.nodes:
                failed(error)
            else:
                self._shell.kernel.post(ask)
        else:
            then(server, node)


def _at(info: NodeInfo) -> Location:
    return Location(info.addr, info.port)
