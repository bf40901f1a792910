"""What a program orders of nodes and servers that is more than an event: setups with arguments, more nodes, control."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from parkcos.client import dispatch_events as d
from parkcos.client.allocate import NodeAllocate, allocations
from parkcos.client.nodes import Nodes
from parkcos.client.records import CLOSING, DISABLED, ENDING, OPENING, WANTED
from parkcos.client.shell import RUNNING, ClientShell
from parkcos.client.turn import Turn
from parkcos.client.whereabouts import Whereabouts
from parkcos.cluster import messages as m
from parkcos.cluster.definitions import SHARED
from parkcos.errors import ConfigError, ScheduleError, ShippingError, UsageError

logger = logging.getLogger("parkcos")


class Steering:
    """One for each client.  Its calls are those of `Client` by the same names."""

    def __init__(
        self,
        shell: ClientShell,
        nodes: Nodes,
        turn: Turn,
        whereabouts: Whereabouts,
        node_setup: Callable[..., Any] | None,
        server_setup: Callable[..., Any] | None,
    ) -> None:
        self._shell = shell
        self._nodes = nodes
        self._turn = turn
        self._whereabouts = whereabouts
        self.node_setup = node_setup
        self.server_setup = server_setup

    # -- setups

    def restart_node(self, where: Any, setup_args: tuple[Any, ...], terminate: bool) -> None:
        number = self._whereabouts.node_at("restart_node", where)
        if setup_args:
            self._set_setup_call(number, "node_setup", self.node_setup, setup_args)
        self._shell.handle(d.CloseNodeAsked(number, terminate, True))

    def enable_node(self, where: Any, setup_args: tuple[Any, ...]) -> None:
        with self._shell.lock:  # it may be lost meanwhile
            number = self._whereabouts.node_at("enable_node", where)
            disabled = self._shell.machine.nodes[number].state == DISABLED
        if not disabled:
            raise ScheduleError(f"enable_node({where!r}): it is enabled already; restart_node sets a node up again")
        self._set_setup_call(number, "node_setup", self.node_setup, setup_args)
        self._shell.handle(d.EnableAsked(number))

    def enable_server(self, location: Any, setup_args: tuple[Any, ...]) -> None:
        with self._shell.lock:
            number = self._whereabouts.server_at("enable_server", location)
            disabled = self._shell.machine.servers[number].state == DISABLED
        if not disabled:
            raise ScheduleError(f"enable_server({location!r}): it is enabled already")
        self._set_setup_call(number, "server_setup", self.server_setup, setup_args)
        self._shell.handle(d.EnableAsked(number))

    def _set_setup_call(self, number: int, what: str, setup: Any, args: tuple[Any, ...]) -> None:
        if args and setup is None:
            raise UsageError(f"there is no {what} that could take the arguments {args!r}\n  write: Client({what}=FN)")
        if setup is not None:
            try:
                signature = inspect.signature(setup)
                signature.bind(*args, **({"task": None} if "task" in signature.parameters else {}))
            except TypeError as error:
                raise UsageError(f"{what} cannot be called with {args!r}: {error}") from None
            packed = self._shell.shipper.pack((setup, args, {}))
            if any(each.kind == SHARED for each in packed[2]):
                raise ShippingError(f"{what} runs before shared objects are there: give it  shared.get()  , the object")
            self._nodes.setup_calls[number] = packed

    # -- more nodes

    def node_allocate(self, allocation: NodeAllocate | str) -> None:
        (chosen,) = allocations([allocation])
        if self._shell.state is not RUNNING:
            raise ScheduleError(f"{self._shell!r} has no nodes yet\n  write: Client(nodes=[{allocation!r}])")
        if chosen.is_known:
            self._add_allocation(chosen)
        else:
            self._shell.network.io.start_thread(partial(self._look_up_allocation, chosen), "parkcos-lookup")

    def _look_up_allocation(self, chosen: NodeAllocate) -> None:
        """In a thread of its own: a task has named it."""
        try:
            chosen.look_up()
        except ConfigError as error:
            logger.error("node_allocate(): %s", error)
            return
        if self._shell.state is RUNNING:
            self._add_allocation(chosen)

    def _add_allocation(self, chosen: NodeAllocate) -> None:
        shell = self._shell
        self._nodes.allocations.insert(0, chosen)
        shell.handle(d.Reallocated())
        if chosen.location is not None and chosen.use:
            if self._turn.scheduler == shell.network.incarnation:
                shell.side.start_scheduler([chosen.location])
            else:
                self._turn.tell_scheduler(m.Contact(chosen.location.addr, chosen.location.port))
        self._turn.tell_scheduler(m.OfferAgain(shell.id))

    # -- by number, as observers know them

    def control(self, number: int, what: str, terminate: bool) -> bool:
        if what not in ("suspend", "resume", "close", "restart"):
            raise UsageError(f"control({number}, {what!r}): write suspend, resume, close or restart")
        shell = self._shell
        if shell.state is not RUNNING:
            raise ScheduleError(f"{what}: the client {shell.name} is {shell.state}, and runs nothing")
        with shell.lock:
            machine = shell.machine
            node, server = machine.nodes.get(number), machine.servers.get(number)
            if node is not None:
                self._may_control_node(what, f"the node {node.info.name}", node.state)
            elif server is not None and server.node:
                name = f"{machine.nodes[server.node].info.name}/{self._nodes.indexes.get(number, 0)}"
                self._may_control_server(what, f"the server {name}", server.state, terminate)
            else:
                return False
            if what in ("suspend", "resume"):
                shell.handle(d.SuspendAsked(number, what == "suspend"))
            elif node is not None:
                shell.handle(d.CloseNodeAsked(number, terminate, what == "restart"))
            else:
                shell.handle(d.CloseServerAsked(number, terminate, what == "restart"))
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
