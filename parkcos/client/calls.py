"""ClusterCalls: what a program asks of its nodes and servers, and tells them; `Client` adds its life and its tasks.

Public, and nothing else: what is more than one event, or one look at the machine, is in steering.py and overview.py.
What comes of the calls that steer is told to the status_task.  Source: chapter 6.4.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any

from parkcos.client import dispatch_events as d
from parkcos.client.allocate import NodeAllocate
from parkcos.client.observer import ClientChanged, Observer
from parkcos.client.overview import Overview
from parkcos.client.room import Room, Wants, open_servers, room, wants
from parkcos.client.shell import NEW, ClientShell
from parkcos.client.steering import Steering
from parkcos.client.submission import kind_of
from parkcos.client.whereabouts import Whereabouts
from parkcos.cluster import messages as m
from parkcos.errors import UsageError
from parkcos.kernel import Completion, Task, operation
from parkcos.kernel.registry import current_kernel
from parkcos.kernel.wait import seconds
from parkcos.net.location import Location


class ClusterCalls:
    """The calls.

    `where` for a node: its address, its own name or that in ``nodes``, each also with its port (``"10.0.0.5:9706"``),
    or its Location; for a server: its Location.  What may be several nodes raises ScheduleError, which names them.
    """

    _shell: ClientShell
    _whereabouts: Whereabouts
    _steering: Steering
    _overview: Overview

    # -- what there is

    def nodes(self) -> Completion[list[str]]:
        """The addresses of the nodes that this client uses.  Yield it."""
        return self._overview.nodes()

    def servers(self) -> Completion[list[Location]]:
        """The locations of the servers that are ready.  Yield it."""
        return self._overview.servers()

    @operation
    def wait_for_servers(self, n: int = 1, timeout: float | None = None) -> Generator[Any, Any, int]:
        """Wait until `n` servers are ready.  Yield it.

        Args:
            timeout: seconds; None for ever.

        Returns: how many are ready; less than `n` if the time was over.
        Raises: ScheduleError if the client is not scheduled, is closed meanwhile, or none will come, with the reason;
        UsageError.
        """
        limit = seconds(timeout)
        if type(n) is not int or n < 1:
            raise UsageError(f"wait_for_servers({n!r}): give a number of servers, 1 or more")
        shell = self._shell
        shell.must_run()
        yield shell.waits.until_servers(shell.kernel, n, limit)
        with shell.lock:
            return len(open_servers(shell.machine))

    def tasks(self, where: Location | str | None = None) -> Completion[list[Task]]:
        """The tasks that run at a server or node, or at all (None).  Yield it.  Raises: ScheduleError."""
        return self._overview.tasks(where)

    # -- for those who watch

    def observe(self, observer: Observer, *, output: bool = False) -> None:
        """Tell `observer` all that happens from now on; first of all, what there is.  Any thread; do not yield it.

        Args:
            observer: see ``parkcos.client.observer``, which has the events.
            output: it wants what is printed at the servers, too, which the nodes then send.
        """
        self._overview.observe(observer, output)

    def unobserve(self, observer: Observer) -> None:
        """Tell it no more; it need not be told anything now.  Any thread."""
        self._overview.unobserve(observer)

    @property
    def observers(self) -> tuple[Observer, ...]:
        """Who watches now."""
        return self._overview.observers

    def standing(self) -> ClientChanged:
        """How the client itself stands, as an observer is told.  Any thread."""
        return self._overview.standing()

    # -- room

    def room(self, fn: Callable[..., Any] | None = None) -> Room:
        """How many tasks could begin now, and how many places there are ahead for tasks as long as those of `fn`.

        For a queue that stands above the client and hands out one by one: what it submits beyond that waits in line.
        Do not yield it; any thread.

        Args:
            fn: what is to be submitted; None, or one that has not run yet: its tasks count as long.
        """
        with self._shell.lock:
            return room(self._shell.machine, "" if fn is None else kind_of(fn))

    def room_changes(
        self, known: Room, fn: Callable[..., Any] | None = None, timeout: float | None = None
    ) -> Completion[Room]:
        """Wait until :meth:`room` gives something else than `known`, or the client is being closed.  Yield it.

        Args:
            timeout: seconds; None for ever.

        Returns: the new room; `known` if the time was over.  Raises: ScheduleError if the client is not scheduled.
        """
        self._shell.must_run()
        kind = "" if fn is None else kind_of(fn)
        return self._shell.waits.until_room_changes(current_kernel(), kind, known, seconds(timeout))

    def wants(self) -> Wants:
        """What waits for a server, as a cluster that grows and shrinks with it wants to know.  Any thread."""
        with self._shell.lock:
            return wants(self._shell.machine)

    # -- steering

    def suspend_server(self, location: Location) -> None:
        """Give the server at `location` no more tasks; those that run there go on.  Raises: ScheduleError."""
        self._shell.handle(d.SuspendAsked(self._whereabouts.server_at("suspend_server", location), True))

    def resume_server(self, location: Location) -> None:
        """Give the server tasks again.  Raises: ScheduleError."""
        self._shell.handle(d.SuspendAsked(self._whereabouts.server_at("resume_server", location), False))

    def close_server(self, location: Location, terminate: bool = False, restart: bool = False) -> None:
        """End the server at `location` when the CPU tasks that run there have ended.

        Args:
            terminate: at once: its tasks get KeyboardInterrupt and five seconds; a server that heeds nothing is killed.
            restart: start a fresh one in its place.

        Raises: ScheduleError.
        """
        server = self._whereabouts.server_at("close_server", location)
        self._shell.handle(d.CloseServerAsked(server, terminate, restart))

    def restart_server(self, location: Location, terminate: bool = False) -> None:
        """As ``close_server(location, terminate, restart=True)``."""
        self.close_server(location, terminate, restart=True)

    def suspend_node(self, where: Location | str) -> None:
        """Give the servers of a node no more tasks; those that run there go on.  Raises: ScheduleError."""
        self._shell.handle(d.SuspendAsked(self._whereabouts.node_at("suspend_node", where), True))

    def resume_node(self, where: Location | str) -> None:
        """Give the servers of a node tasks again.  Raises: ScheduleError."""
        self._shell.handle(d.SuspendAsked(self._whereabouts.node_at("resume_node", where), False))

    def close_node(self, where: Location | str, terminate: bool = False) -> None:
        """End all servers of a node when their CPU tasks have ended (`terminate`: at once), and give the node back.

        It is not used again, unless :meth:`node_allocate` asks for it.  Raises: ScheduleError.
        """
        self._shell.handle(d.CloseNodeAsked(self._whereabouts.node_at("close_node", where), terminate, False))

    def restart_node(self, where: Location | str, *setup_args: Any, terminate: bool = False) -> None:
        """As :meth:`close_node`, but the node stays with this client and is set up again.

        Args:
            setup_args: for node_setup; if there are none, those of last time.

        NodeDiscovered and NodeInitialized are not sent for it.  Raises: ScheduleError; UsageError if node_setup does
        not take the arguments; ShippingError if they cannot travel.
        """
        self._steering.restart_node(where, setup_args, terminate)

    def enable_node(self, where: Location | str, *setup_args: Any) -> None:
        """With ``disable_nodes=True``: use this node now, and call node_setup with these arguments.

        Raises: ScheduleError, also if it is enabled already; UsageError if node_setup does not take them;
        ShippingError if they cannot travel.
        """
        self._steering.enable_node(where, setup_args)

    def enable_server(self, location: Location, *setup_args: Any) -> None:
        """With ``disable_servers=True``: use this server now, and call server_setup with these arguments.

        Raises: ScheduleError, also if it is enabled already; UsageError if server_setup does not take them;
        ShippingError if they cannot travel.
        """
        self._steering.enable_server(location, setup_args)

    def abandon_zombie(self, where: Location | str | None, flag: bool = True) -> None:
        """Whether a node of which nothing is heard is given up at once, with its tasks.

        Args:
            where: the node; None for all, as ``abandon_zombie_nodes`` of the client.

        Raises: ScheduleError.
        """
        if where is None and self._shell.state is NEW:
            self._shell.machine.controls.abandon_zombies = bool(flag)
            return
        number = 0 if where is None else self._whereabouts.node_at("abandon_zombie", where)
        self._shell.handle(d.AbandonAsked(number, bool(flag)))

    def node_allocate(self, allocation: NodeAllocate | str) -> None:
        """Add to what the client wants: a name or address is dialled, and nodes that were not wanted are asked again.

        Raises: ConfigError, ScheduleError.
        """
        self._steering.node_allocate(allocation)

    # -- by number, as observers know them

    def control(self, number: int, what: str, terminate: bool = False) -> bool:
        """Do something to the node or server that observers know by this number.  Any thread.

        Args:
            what: suspend, resume, close or restart.
            terminate: of close and restart: as for :meth:`close_server`.

        Returns: False if it is not in use any more; what takes its place has another number.
        Raises: ScheduleError if that cannot be done; UsageError.
        """
        return self._steering.control(number, what, terminate)

    def cancel(self, tasks: Iterable[int], reason: str = "it was cancelled") -> list[int]:
        """End tasks, by their numbers, wherever they are: as ``TaskHandle.cancel``.  Any thread.

        Returns: the numbers of those whose end is known already, or that there never were.
        """
        missed = []
        with self._shell.lock:
            for number in tasks:
                if number in self._shell.machine.tasks:
                    self._shell.handle(d.CancelAsked(number, reason))
                else:
                    missed.append(number)
        return missed

    def ask_load(self) -> None:
        """Have all nodes say now what they have to spare, for the observers alone.  Any thread."""
        with self._shell.lock:
            for number in self._shell.machine.nodes:
                self._shell.side.box.send(number, "node", m.AskAvail(self._shell.id))
