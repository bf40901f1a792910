"""pycos.dispycos: Client and Scheduler, and what a status task is sent."""

from __future__ import annotations

import fnmatch
import logging
import re
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import parkcos
from parkcos.client.records import OPEN
from parkcos.client.side import ClientSide
from parkcos.client.status import Statuses
from parkcos.compat import alias
from parkcos.compat.config import DispycosNodePort as DispycosNodePort
from parkcos.compat.config import MaxPulseInterval as MaxPulseInterval
from parkcos.compat.config import MinPulseInterval as MinPulseInterval
from parkcos.compat.config import MsgTimeout as MsgTimeout
from parkcos.compat.netpycos import Location as Location
from parkcos.compat.netpycos import MonitorStatus as MonitorStatus
from parkcos.compat.netpycos import SysTask as SysTask
from parkcos.compat.netpycos import Task as Task
from parkcos.compat.netpycos import logger as logger
from parkcos.compat.runtime import Pycos
from parkcos.errors import ParkcosError, UsageError
from parkcos.kernel import operation
from parkcos.net.runtime import Parkcos

__all__ = [
    "Client",
    "Computation",
    "DispycosNodeAllocate",
    "DispycosNodeAvailInfo",
    "DispycosNodeInfo",
    "DispycosStatus",
    "DispycosTaskInfo",
    "Scheduler",
]

_log = logging.getLogger("parkcos")

DispycosStatus = parkcos.Status
DispycosTaskInfo = parkcos.TaskInfo
DispycosNodeAvailInfo = parkcos.NodeAvailInfo

nodes_to_contact: list[Location] = []
"""Those that whoever started the program has named."""


@dataclass(frozen=True)
class DispycosNodeInfo:
    """What a status about a node has as its `info`: the node, and in `avail_info` what it has to offer."""

    name: str
    addr: str
    cpus: int
    platform: str
    avail_info: parkcos.NodeAvailInfo

    def __getattr__(self, name: str) -> Any:
        """In earlier versions, `info` was what is `avail_info` now."""
        if name in ("location", "cpu", "memory", "disk", "swap"):
            return getattr(self.avail_info, name)
        raise AttributeError(f"a DispycosNodeInfo has no attribute {name!r}")


class DispycosNodeAllocate(parkcos.NodeAllocate):
    """What a client wants of a node.

    Args:
        node: name or address, or a pattern with ``*``.
        port: of the node; None: 9706.
        platform: a regular expression that must occur in the node's platform, in lower case.
        cpus: None: all; n: so many, if it has them; -n: all but n; 0: the node is not used.
        memory, disk: free bytes that it must have.
    """

    def __init__(
        self,
        node: str,
        port: int | None = None,
        platform: str = "",
        cpus: int | None = None,
        memory: int | None = None,
        disk: int | None = None,
    ) -> None:
        if cpus is not None and not isinstance(cpus, int):
            raise parkcos.ConfigError(f"DispycosNodeAllocate(cpus={cpus!r}): give a whole number, or None")
        super().__init__(node, port, platform, None, memory, disk, use=cpus != 0)
        self._wanted = cpus

    def allocate(self, ip_addr: str, name: str, platform: str, cpus: int, memory: int | None, disk: int | None) -> int:
        """How many processors of the node to use: 0: it is not used; below 0: the next entry is asked."""
        if not self.matches(ip_addr, name) or not re.search(self.platform.lower(), platform.lower()):
            return -1
        if (self.memory and (memory or 0) < self.memory) or (self.disk and (disk or 0) < self.disk):
            return 0
        if self._wanted is None:
            return cpus
        if self._wanted > 0:
            return self._wanted if self._wanted <= cpus else 0
        return max(0, cpus + self._wanted) if self._wanted else 0

    def matches(self, ip_addr: str, name: str) -> bool:
        """Whether this is about the node with that address and name."""
        return super().matches(ip_addr, name) or fnmatch.fnmatchcase(name, self.node)


class Scheduler(Statuses):
    """The scheduler of this program, and the numbers of statuses.

    Args: those of Pycos; and
        nodes: names, addresses or Locations of nodes to contact.
        relay_nodes, clean, pulse_interval, ping_interval, zombie_period: taken and not used.
    """

    NodeIgnore = ServerIgnore = 1
    CoroCreated = Statuses.TaskCreated
    ComputationScheduled, ComputationClosed = Statuses.ClientScheduled, Statuses.ClientClosed
    TaskFinished = 22

    def __init__(
        self,
        *,
        nodes: Iterable[str | Location] = (),
        relay_nodes: bool = False,
        clean: bool = False,
        pulse_interval: float = MaxPulseInterval,
        ping_interval: float = 0,
        zombie_period: float = 100 * MaxPulseInterval,
        **kwargs: Any,
    ) -> None:
        Pycos(**kwargs)
        contacts = [n if isinstance(n, Location) else Location(n, DispycosNodePort) for n in nodes]
        self._service = ClientSide.of(Parkcos.instance().network).private_scheduler([*contacts, *nodes_to_contact])

    @classmethod
    def instance(cls, **kwargs: Any) -> Scheduler:
        """The scheduler of this program, started if there is none."""
        return cls(**kwargs)

    def status(self) -> dict[str, Any]:
        """What it knows: where the client is, nodes and servers, how many tasks run, and how many of them on a CPU."""
        network = Parkcos.instance().network
        servers: list[Location] = []
        running: list[bool] = []
        for client in list(ClientSide.of(network).clients.values()):
            shell = client.shell
            with shell.lock:
                machine = shell.machine
                servers += [
                    shell.locations[number] for number, server in machine.servers.items() if server.state == OPEN
                ]
                running += [task.io for task in machine.tasks.values() if task.started]
        return {
            "Client": network.location if self._service.machine.queue else "",
            "Pending": len(running),
            "PendingCPU": running.count(False),
            "Nodes": [record.info.addr for record in self._service.machine.nodes.values()],
            "Servers": servers,
        }

    def print_status(self) -> None:
        """Print that; of nodes and servers, how many there are."""
        for what, value in self.status().items():
            print(f"  {what}: {len(value) if isinstance(value, list) else value}")

    @operation
    def close(self) -> Generator[Any, Any, None]:
        """Yield it.  It ends with the program; there is nothing to do."""
        yield


def _as_dispycos(info: Any) -> Any:
    """What the info of a status is there."""
    if not isinstance(info, parkcos.NodeAvailInfo):
        return info
    if info.cpu is None:  # it has not said yet; programs compare the numbers
        info = replace(info, cpu=100.0, swap=info.swap or 0)
    return DispycosNodeInfo(info.name, info.location.addr, info.cpus, info.platform, info)


def _failed(call: str, error: Exception) -> None:
    text = str(error)
    _log.warning("%s", text if text.startswith(f"{call}()") else f"{call}(): {text}")


class Client(parkcos.Client):
    """A program's claim to the nodes, and its way to run tasks there.

    Args: those of :class:`parkcos.Client`, in the order of pycos 4.12; and
        nodes: nodes to contact, and what is wanted of which; others are used too, unless the last entry is
            ``DispycosNodeAllocate('*', cpus=0)``.
        node_allocations: more of `nodes`.
        scheduler: of pycos 4.11: where `schedule` gets in line if it is not told.
        peers_communicate, status_coro: of pycos 4.6 and before: not needed; `status_task`.
        ping_interval, zombie_period: seconds, checked as pycos does, and not used: nodes are found and missed without.

    Raises: UsageError, ConfigError, ShippingError.
    """

    def __init__(
        self,
        components: Any = (),
        nodes: Sequence[str | parkcos.NodeAllocate] = (),
        status_task: parkcos.Task | None = None,
        node_setup: Callable[..., Any] | None = None,
        server_setup: Callable[..., Any] | None = None,
        disable_nodes: bool = False,
        disable_servers: bool = False,
        pulse_interval: float = 5 * MinPulseInterval,
        node_allocations: Sequence[str | parkcos.NodeAllocate] = (),
        ping_interval: float | None = None,
        restart_servers: bool = False,
        zombie_period: float | None = None,
        abandon_zombie_nodes: bool = False,
        *,
        scheduler: Location | str | None = None,
        peers_communicate: bool = False,
        status_coro: parkcos.Task | None = None,
    ) -> None:
        if isinstance(nodes, int | float):
            raise UsageError(f"nodes={nodes!r}: give a list of nodes\n  write: pulse_interval={nodes!r}")
        if not MinPulseInterval <= pulse_interval <= MaxPulseInterval:
            raise UsageError(
                f"pulse_interval={pulse_interval!r}: give {MinPulseInterval} to {MaxPulseInterval} seconds"
            )
        if ping_interval and ping_interval < pulse_interval:
            raise UsageError(f"ping_interval={ping_interval!r}: give at least pulse_interval, {pulse_interval:g} s")
        if zombie_period and zombie_period < 5 * pulse_interval:
            raise UsageError(f"zombie_period={zombie_period!r}: give 0, or at least five pulse_intervals")
        listed = components if isinstance(components, list | tuple | set | frozenset) else [components]
        wanted = [DispycosNodeAllocate(n) if isinstance(n, str) else n for n in (*nodes, *node_allocations)]
        Pycos()
        super().__init__(
            [alias.names_for_servers(), *listed],
            nodes=[*wanted, DispycosNodeAllocate("*")],
            status_task=status_task or status_coro,
            node_setup=node_setup,
            server_setup=server_setup,
            pulse_interval=pulse_interval,
            disable_nodes=disable_nodes,
            disable_servers=disable_servers,
            restart_servers=restart_servers,
            abandon_zombie_nodes=abandon_zombie_nodes,
        )
        self._in_line_at = scheduler
        self._shell.info_shown = _as_dispycos

    def schedule(self, location: Location | str | float | None = None, timeout: float | None = None) -> Any:
        """Yield it.  Get in line at a scheduler and wait for the turn: 0; -1 after `timeout` seconds.

        Also -1 if it cannot be; the reason is in the log.  (In 4.11, `timeout` was the only argument.)
        """
        if isinstance(location, int | float):
            location, timeout = None, location
        where = location or self._in_line_at
        if nodes_to_contact and where is None:
            ClientSide.of(Parkcos.instance().network).private_scheduler(nodes_to_contact)
        return self._try(-1, super().schedule, where, timeout)

    # -- None or -1 where parkcos raises

    @operation
    def _try(self, failed: Any, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        try:
            return (yield call(*args, **kwargs))
        except (ParkcosError, TypeError) as error:
            _failed(call.__name__, error)
            return failed

    def rtask(self, gen: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Yield it.  Run ``gen(*args, **kwargs)`` where no other CPU task runs: the remote Task, None if it cannot be.

        The reason is in the log.
        """
        return self._try(None, super().rtask, gen, *args, **kwargs)

    def rtask_at(self, where: Location | str, gen: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Yield it.  As `rtask`, at a server (its Location) or a node (its address or name)."""
        return self._try(None, super().rtask_at, where, gen, *args, **kwargs)

    def io_rtask(self, gen: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Yield it.  As `rtask`, for a task that mostly waits."""
        return self._try(None, super().io_rtask, gen, *args, **kwargs)

    def io_rtask_at(self, where: Location | str, gen: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Yield it.  As `io_rtask`, at a server or a node."""
        return self._try(None, super().io_rtask_at, where, gen, *args, **kwargs)

    run, run_at, run_async, run_async_at = rtask, rtask_at, io_rtask, io_rtask_at

    # -- until 4.8: tasks whose results are waited for

    @operation
    def run_result_at(
        self, where: Location | str | None, gen: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Generator[Any, Any, Any]:
        """Yield it.  Run a task at `where`, and wait: its result, a failure's MonitorStatus, or None as `rtask`."""
        rtask = yield self.rtask(gen, *args, **kwargs) if where is None else self.rtask_at(where, gen, *args, **kwargs)
        return None if rtask is None else (yield rtask())

    def run_result(self, gen: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Yield it.  The same, at any server."""
        return self.run_result_at(None, gen, *args, **kwargs)

    @operation
    def run_results(self, gen: Callable[..., Any], iter: Iterable[Any]) -> Generator[Any, Any, list[Any]]:
        """Yield it.  Run a task for each of `iter`, its arguments or its only one: the results, in that order."""
        waiting = []
        for given in iter:
            args = tuple(given) if hasattr(given, "__iter__") else (given,)
            waiting.append(parkcos.Task(self.run_result_at, None, gen, *args))
        results = []
        for task in waiting:
            results.append((yield task.finish()))
        return results

    def close(
        self,
        await_io: bool = False,
        terminate: bool = False,
        timeout: float | None = None,
        *,
        await_async: bool = False,
    ) -> Any:
        """Yield it.  As there; `await_async` is what `await_io` was called before 4.9."""
        return super().close(await_io or await_async, terminate, timeout)

    # -- nodes and servers

    def _steer(self, call: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        """These calls report in the log what they cannot do, and give nothing."""
        try:
            call(*args, **kwargs)
        except ParkcosError as error:
            _failed(call.__name__, error)

    def enable_node(self, node: Location | str, *setup_args: Any) -> None:
        """With `disable_nodes`: use this node; the arguments are for node_setup."""
        self._steer(super().enable_node, node, *setup_args)

    def enable_server(self, location: Location, *setup_args: Any) -> None:
        """With `disable_servers`: use this server; the arguments are for server_setup."""
        self._steer(super().enable_server, location, *setup_args)

    def suspend_node(self, node: Location | str) -> None:
        """Give a node no more tasks; what runs goes on."""
        self._steer(super().suspend_node, node)

    def resume_node(self, node: Location | str) -> None:
        """Give a node tasks again."""
        self._steer(super().resume_node, node)

    def suspend_server(self, location: Location) -> None:
        """Give a server no more tasks; what runs goes on."""
        self._steer(super().suspend_server, location)

    def resume_server(self, location: Location) -> None:
        """Give a server tasks again."""
        self._steer(super().resume_server, location)

    def close_server(self, location: Location, terminate: bool = False, restart: bool = False) -> None:
        """End a server after its CPU tasks, or at once; `restart`: with a fresh one in its place."""
        self._steer(super().close_server, location, terminate, restart)

    def restart_server(self, location: Location, terminate: bool = False) -> None:
        """The same with `restart`."""
        self.close_server(location, terminate, restart=True)

    def close_node(self, node: Location | str, terminate: bool = False) -> None:
        """End a node's servers in the same way, and give it back."""
        self._steer(super().close_node, node, terminate)

    def restart_node(self, node: Location | str, *setup_args: Any, terminate: bool = False) -> None:
        """End a node's servers, and set it up anew, with these arguments for node_setup."""
        self._steer(super().restart_node, node, *setup_args, terminate=terminate)

    def abandon_zombie(self, location: Location | str | None, flag: bool = True) -> None:
        """Whether that node (None: any) is given up as soon as it is silent."""
        self._steer(super().abandon_zombie, location, flag)

    def node_allocate(self, allocation: parkcos.NodeAllocate | str) -> int:  # type: ignore[override]
        """A further entry for `nodes`, before the others: 0; -1, with the reason in the log."""
        try:
            super().node_allocate(DispycosNodeAllocate(allocation) if isinstance(allocation, str) else allocation)
        except ParkcosError as error:
            _failed("node_allocate", error)
            return -1
        return 0


Computation = Client
