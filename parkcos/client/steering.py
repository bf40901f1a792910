"""What a client's program tells its nodes and servers: suspend, resume, close, restart, enable.

None of these calls is to be yielded.  What comes of them is told to the status_task.  Source: chapter 6.4.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from parkcos.client import dispatch_events as d
from parkcos.client.allocate import NodeAllocate, allocations
from parkcos.client.incoming import Incoming
from parkcos.client.records import CLOSING, DISABLED, ENDING, OPENING, WANTED
from parkcos.client.shell import NEW, RUNNING
from parkcos.cluster import messages as m
from parkcos.cluster.definitions import SHARED
from parkcos.cluster.node_info import NodeInfo
from parkcos.errors import ConfigError, ScheduleError, ShippingError, UsageError
from parkcos.net.finding.lookup import known, looked_up
from parkcos.net.location import Location

logger = logging.getLogger("parkcos")


class Steering(Incoming):
    """The calls.

    `where` for a node: its address, its own name or that in ``nodes``, each also with its port (``"10.0.0.5:9706"``),
    or its Location; for a server: its Location.  What may be several nodes raises ScheduleError, which names them.
    """

    def suspend_server(self, location: Location) -> None:
        """Give the server at `location` no more tasks; those that run there go on.  Raises: ScheduleError."""
        self._handle(d.SuspendAsked(self._server_at("suspend_server", location), True))

    def resume_server(self, location: Location) -> None:
        """Give the server tasks again.  Raises: ScheduleError."""
        self._handle(d.SuspendAsked(self._server_at("resume_server", location), False))

    def close_server(self, location: Location, terminate: bool = False, restart: bool = False) -> None:
        """End the server at `location` when the CPU tasks that run there have ended.

        Args:
            terminate: at once: its tasks get KeyboardInterrupt and five seconds; a server that heeds nothing is killed.
            restart: start a fresh one in its place.

        Raises: ScheduleError.
        """
        self._handle(d.CloseServerAsked(self._server_at("close_server", location), terminate, restart))

    def restart_server(self, location: Location, terminate: bool = False) -> None:
        """As ``close_server(location, terminate, restart=True)``."""
        self.close_server(location, terminate, restart=True)

    def suspend_node(self, where: Location | str) -> None:
        """Give the servers of a node no more tasks; those that run there go on.  Raises: ScheduleError."""
        self._handle(d.SuspendAsked(self._node_at("suspend_node", where), True))

    def resume_node(self, where: Location | str) -> None:
        """Give the servers of a node tasks again.  Raises: ScheduleError."""
        self._handle(d.SuspendAsked(self._node_at("resume_node", where), False))

    def close_node(self, where: Location | str, terminate: bool = False) -> None:
        """End all servers of a node when their CPU tasks have ended (`terminate`: at once), and give the node back.

        It is not used again, unless :meth:`node_allocate` asks for it.  Raises: ScheduleError.
        """
        self._handle(d.CloseNodeAsked(self._node_at("close_node", where), terminate, False))

    def restart_node(self, where: Location | str, *setup_args: Any, terminate: bool = False) -> None:
        """As :meth:`close_node`, but the node stays with this client and is set up anew.

        Args:
            setup_args: for node_setup; if there are none, those of last time.

        NodeDiscovered and NodeInitialized are not sent for it.  Raises: ScheduleError; UsageError if node_setup does
        not take the arguments; ShippingError if they cannot travel.
        """
        number = self._node_at("restart_node", where)
        if setup_args:
            self._set_setup_call(number, "node_setup", self._node_setup, setup_args)
        self._handle(d.CloseNodeAsked(number, terminate, True))

    def enable_node(self, where: Location | str, *setup_args: Any) -> None:
        """With ``disable_nodes=True``: use this node now, and call node_setup with these arguments.

        Raises: ScheduleError, also if it is enabled already; UsageError if node_setup does not take them;
        ShippingError if they cannot travel.
        """
        with self._lock:  # it may be lost meanwhile
            number = self._node_at("enable_node", where)
            disabled = self._machine.nodes[number].state == DISABLED
        if not disabled:
            raise ScheduleError(f"enable_node({where!r}): it is enabled already; restart_node sets a node up anew")
        self._set_setup_call(number, "node_setup", self._node_setup, setup_args)
        self._handle(d.EnableAsked(number))

    def enable_server(self, location: Location, *setup_args: Any) -> None:
        """With ``disable_servers=True``: use this server now, and call server_setup with these arguments.

        Raises: ScheduleError, also if it is enabled already; UsageError if server_setup does not take them;
        ShippingError if they cannot travel.
        """
        with self._lock:
            number = self._server_at("enable_server", location)
            disabled = self._machine.servers[number].state == DISABLED
        if not disabled:
            raise ScheduleError(f"enable_server({location!r}): it is enabled already")
        self._set_setup_call(number, "server_setup", self._server_setup, setup_args)
        self._handle(d.EnableAsked(number))

    def abandon_zombie(self, where: Location | str | None, flag: bool = True) -> None:
        """Whether a node of which nothing is heard is given up at once, with its tasks.

        Args:
            where: the node; None for all, as ``abandon_zombie_nodes`` of the client.

        Raises: ScheduleError.
        """
        if where is None and self._state is NEW:
            self._machine.controls.abandon_zombies = bool(flag)
            return
        number = 0 if where is None else self._node_at("abandon_zombie", where)
        self._handle(d.AbandonAsked(number, bool(flag)))

    def node_allocate(self, allocation: NodeAllocate | str) -> None:
        """Add to what the client wants: a name or address is dialled, and nodes that were not wanted are asked again.

        Raises: ConfigError, ScheduleError.
        """
        (chosen,) = allocations([allocation])
        if self._state is not RUNNING:
            raise ScheduleError(f"{self!r} has no nodes yet\n  write: Client(nodes=[{allocation!r}])")
        if chosen.is_known:
            self._add_allocation(chosen)
        else:
            self._network.io.start_thread(partial(self._look_up_allocation, chosen), "parkcos-lookup")

    def _look_up_allocation(self, chosen: NodeAllocate) -> None:
        """In a thread of its own: a task has named it."""
        try:
            chosen.look_up()
        except ConfigError as error:
            logger.error("node_allocate(): %s", error)
            return
        if self._state is RUNNING:
            self._add_allocation(chosen)

    def _add_allocation(self, chosen: NodeAllocate) -> None:
        self._allocations.insert(0, chosen)
        self._handle(d.Reallocated())
        if chosen.location is not None and chosen.use:
            if self._scheduler == self._network.incarnation:
                self._side.start_scheduler([chosen.location])
            else:
                self._to_scheduler(m.Contact(chosen.location.addr, chosen.location.port))
        self._to_scheduler(m.OfferAgain(self._id))

    # -- by number, as observers know them

    def control(self, number: int, what: str, terminate: bool = False) -> bool:
        """Do something to the node or server that observers know by this number.  Any thread.

        Args:
            what: suspend, resume, close or restart.
            terminate: of close and restart: as for :meth:`close_server`.

        Returns: False if it is not in use any more; what takes its place has another number.
        Raises: ScheduleError if that cannot be done; UsageError.
        """
        if what not in ("suspend", "resume", "close", "restart"):
            raise UsageError(f"control({number}, {what!r}): write suspend, resume, close or restart")
        if self._state is not RUNNING:
            raise ScheduleError(f"{what}: the client {self.name} is {self._state}, and runs nothing")
        with self._lock:
            node, server = self._machine.nodes.get(number), self._machine.servers.get(number)
            if node is not None:
                self._may_control_node(what, f"the node {node.info.name}", node.state)
            elif server is not None and server.node:
                name = f"{self._machine.nodes[server.node].info.name}/{self._indexes.get(number, 0)}"
                self._may_control_server(what, f"the server {name}", server.state, terminate)
            else:
                return False
            if what in ("suspend", "resume"):
                self._handle(d.SuspendAsked(number, what == "suspend"))
            elif node is not None:
                self._handle(d.CloseNodeAsked(number, terminate, what == "restart"))
            else:
                self._handle(d.CloseServerAsked(number, terminate, what == "restart"))
        return True

    def _may_control_node(self, what: str, who: str, state: str) -> None:
        if state == CLOSING:
            raise ScheduleError(f"{what}: {who} is being closed already")
        if state in (WANTED, DISABLED) and what == "restart":
            raise ScheduleError(f"{what}: {who} has not been set up yet")

    def _may_control_server(self, what: str, who: str, state: str, terminate: bool) -> None:
        if state == ENDING and (what in ("suspend", "resume") or not terminate):
            raise ScheduleError(f"{what}: {who} is being closed already; with terminate it ends at once")
        if state in (DISABLED, OPENING) and what == "resume":
            raise ScheduleError(f"{what}: {who} is still being set up")

    def cancel(self, tasks: Iterable[int], reason: str = "it was cancelled") -> list[int]:
        """End tasks, by their numbers, wherever they are: as ``TaskHandle.cancel``.  Any thread.

        Returns: the numbers of those whose end is known already, or that there never were.
        """
        missed = []
        with self._lock:
            for number in tasks:
                if number in self._machine.tasks:
                    self._handle(d.CancelAsked(number, reason))
                else:
                    missed.append(number)
        return missed

    def ask_load(self) -> None:
        """Have all nodes say now what they have to spare, for the observers alone.  Any thread."""
        with self._lock:
            for number in self._machine.nodes:
                self._side.box.send(number, "node", m.AskAvail(self._id))

    # -- who is meant

    def _set_setup_call(self, number: int, what: str, setup: Any, args: tuple[Any, ...]) -> None:
        if args and setup is None:
            raise UsageError(f"there is no {what} that could take the arguments {args!r}\n  write: Client({what}=FN)")
        if setup is not None:
            try:
                signature = inspect.signature(setup)
                signature.bind(*args, **({"task": None} if "task" in signature.parameters else {}))
            except TypeError as error:
                raise UsageError(f"{what} cannot be called with {args!r}: {error}") from None
            packed = self._shipper.pack((setup, args, {}))
            if any(each.kind == SHARED for each in packed[2]):
                raise ShippingError(f"{what} runs before shared objects are there: give it  shared.get()  , the object")
            self._setup_calls[number] = packed

    def _server_at(self, what: str, location: Location) -> int:
        server, _ = self._find(what, location)
        if not server:
            raise ScheduleError(f"{what}({location!r}): that is a node\n  write: the Location of a server")
        return server

    def _node_at(self, what: str, where: Location | str) -> int:
        server, node = self._find(what, where)
        if server:
            raise ScheduleError(f"{what}({where!r}): that is a server\n  write: the address or name of a node")
        return node

    def _find(self, what: str, where: Any) -> tuple[int, int]:
        if self._state is not RUNNING:
            raise ScheduleError(f"{what}(): {self!r} has no nodes\n  write: yield client.schedule()  first")
        if not isinstance(where, Location | str):
            raise UsageError(f"{what}({where!r}): give a Location, or the address or name of a node")
        if isinstance(where, Location) and not where.is_known:
            where = str(where)  # its name and port
        return self._place(where)

    def _place(self, where: Any, addresses: Sequence[str] = ()) -> tuple[int, int]:
        """(server, node) numbers that `where` means; no name server is asked.

        addresses: those of `where`, if it is a name that was looked up.
        Raises: ScheduleError if there is none of them, or several.
        """
        if where is None:
            return 0, 0
        with self._lock:
            nodes = self._machine.nodes
            if isinstance(where, Location):
                for number, location in self._locations.items():
                    if location == where and number in self._machine.servers:
                        return number, 0
            meant = [number for number, node in nodes.items() if self._is_called(node.info, where, addresses)]
            if len(meant) == 1:
                return 0, meant[0]
            called = [f"{nodes[number].info.name} ({_at(nodes[number].info)})" for number in meant or nodes]
            servers = [str(location) for location in self._locations.values()]
        if not meant:
            used = ", ".join([*called, *servers]) or "none yet"
            raise ScheduleError(f"this client uses no server or node at {where}; it uses {used}")
        if len({_at(nodes[number].info) for number in meant}) == 1:
            todo = "they announce one address: start each with  parkcosnode.py -i ADDRESS,  its own in their network"
        else:
            todo = f"write: {str(_at(nodes[meant[0]].info))!r}  or another one of these"
        raise ScheduleError(f"{where} may be {' or '.join(called)}\n  {todo}")

    def _is_called(self, info: NodeInfo, where: Location | str, addresses: Sequence[str]) -> bool:
        """Whether `where` is this node; `addresses` as of `_place`."""
        if isinstance(where, Location):
            return where == _at(info)
        asked_for = self._matched.get(info.incarnation)
        names = [info.name] if asked_for is None else [info.name, asked_for.node]
        with_port = [str(_at(info)), *(f"{name}:{info.port}" for name in names)]
        return where in (info.addr, *names, *with_port) or info.addr in addresses

    def _when_placed(
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
                then(*self._place(where, addresses or ()))
            except BaseException as error:
                failed(error)

        def ask() -> None:
            if isinstance(where, Location):
                known(self._network, where).tell(placed)
            else:
                looked_up(self._network, where).tell(look)

        if isinstance(where, Location) and not where.is_known:
            self._kernel.post(ask)
            return
        try:
            server, node = self._place(where)
        except ScheduleError as error:
            if not isinstance(where, str) or not self._machine.nodes:
                failed(error)
            else:
                self._kernel.post(ask)
        else:
            then(server, node)


def _at(info: NodeInfo) -> Location:
    return Location(info.addr, info.port)
