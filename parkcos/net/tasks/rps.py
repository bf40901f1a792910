"""Remote services: a function that one program offers by name, and others run there.

Two faces of one class: an :class:`RPS` holds the function; a :class:`LocatedRPS` names one, in another process or in
this one.  What such a call says on the wire is :class:`parkcos.net.wire.RunRps`; the router answers it by `make_task`.

The task's end is asked for together with the task, so that it is known also if it comes at once.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from parkcos.errors import PeerError, RemoteError, ShippingError, UsageError
from parkcos.kernel import Completion, Task, operation, spaces
from parkcos.kernel.registry import current_kernel
from parkcos.kernel.target import check
from parkcos.kernel.wait import seconds
from parkcos.net import wire
from parkcos.net.bounds import must_be_name
from parkcos.net.location import Location
from parkcos.net.payload import Buffer, dumps, loads

if TYPE_CHECKING:
    from parkcos.kernel import Kernel
    from parkcos.net.network import Network
    from parkcos.net.session.peer import Peer
    from parkcos.net.tasks.remote_task import RemoteTask

__all__ = ["RPS"]

logger = logging.getLogger("parkcos")

WAITING_LOG_S = 5.0


class RPS:
    """A function that other programs can run in this one: ``RPS(fn).register()`` here, ``RPS.locate("fn")`` there.

    Args:
        method: a generator function or an ``async def``; each call runs it as a task of this program.
        name: under which it is found; None: the function's own.

    Raises: UsageError if `method` cannot be a task, or the name is not a str or empty.

    It can be sent in messages: whoever gets it has a reference to it.

    Source: the RPS of pycos.
    """

    kernel: Kernel
    name: str

    def __init__(self, method: Callable[..., Any], name: str | None = None) -> None:
        self.kernel = current_kernel()
        self.name = getattr(method, "__name__", "") if name is None else name
        self._track()
        check(self.kernel.kinds, method, "RPS({})")
        if not isinstance(self.name, str) or not self.name:
            raise UsageError(f"the name of an RPS must be a str that is not empty, not {name!r}")
        self._method: Callable[..., Any] = method
        self.space = spaces.of_function(method)
        self._signature = inspect.signature(method)

    def _track(self) -> None:
        """What both faces know of the tasks that are made through them."""
        self._closed = False
        self._monitors: dict[Task, None] = {}
        self._live: dict[Task, None] = {}

    @property
    def location(self) -> Any:
        """Where the function runs; None without networking."""
        network = self.kernel.network
        return None if network is None else network.location

    def __repr__(self) -> str:
        location = self.location
        return f"<RPS {self.name}>" if location is None else f"<RPS {self.name}@{location}>"

    def __reduce__(self) -> tuple[Any, ...]:
        must_be_name(self.name, self)
        network: Any = self.kernel.ensure_network()
        return restore_rps, (network.location.addr, network.location.port, network.incarnation, self.name)

    # -- at the program that offers it

    def register(self) -> int:
        """From now on others find it.  Do not yield it.

        Returns: 0; -1 if another one of this program has the name, or it is closed.
        """
        if self._closed or not self.kernel.names.services.register(self.name, self):
            logger.warning("%r cannot be registered: it is closed, or another RPS has its name", self)
            return -1
        self.kernel.registered(self)
        return 0

    def unregister(self) -> int:
        """Nobody can find or run it any more; what runs goes on.  Do not yield it.

        Returns: 0; -1 if it was not registered.
        """
        return 0 if self.kernel.names.services.unregister(self.name, self) else -1

    def make_task(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Task:
        """Kernel thread: run the function for somebody.

        Raises: TypeError, with the signature that is expected, if the arguments do not fit.
        """
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            words = ", ".join(["one argument" if len(args) == 1 else f"{len(args)} arguments", *map(repr, kwargs)])
            raise TypeError(
                f"{self!r} was called with {words}: {error}\n  write: rtask = yield rps{self._expected()}"
            ) from None
        task = self.kernel.spawn(self._method, *args, **kwargs)
        self._made(task)
        return task

    def _expected(self) -> str:
        """The arguments of a call, but for the one in which the task itself is given."""
        parameters = [p.replace(annotation=p.empty) for p in self._signature.parameters.values()]
        return str(inspect.Signature([p for p in parameters if p.name != "task" or p.default is p.empty]))

    # -- at the program that calls it

    @staticmethod
    @operation
    def locate(name: str, location: Any = None, timeout: float | None = None) -> Generator[Any, Any, Any]:
        """Yield it.  The RPS registered as `name`, in this process or at `location`, or at any peer.

        Returns: an RPS to be called; None if no process has it, or after `timeout` seconds (None: as soon as all
        peers have said no; while no peer is known it waits for one).
        Raises: ConfigError if it is not in this process and there is no networking, or if the name of the location's
            host cannot be resolved.
        """
        limit = seconds(timeout)
        kernel = current_kernel()
        network: Any = kernel.network
        found = kernel.names.services.get(name) if location is None else None
        if found is None:
            network = kernel.ensure_network()
            found = yield network.locate_rps(name, location, limit)
        if isinstance(found, RPS) and not isinstance(found, LocatedRPS):  # in this process
            return LocatedRPS(kernel, network, network and network.location, network and network.incarnation, name)
        return found

    @operation
    def __call__(self, *args: Any, **kwargs: Any) -> Generator[Any, Any, Task]:
        """Yield it.  Run the function with these arguments where it is registered.

        Returns: its Task, remote unless it runs in this process.
        Raises: TypeError if the arguments do not fit, with the signature that is expected; RemoteError if it is
        not registered any more, or the arguments cannot be opened there; PeerError if its process is gone;
        ShippingError if the arguments cannot be pickled; UsageError if it is closed.
        """
        self._check_open()
        return self.make_task(args, kwargs)
        yield

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError(f"{self!r} is closed\n  write: rps = yield RPS.locate({self.name!r})")

    def monitor(self, task: Task) -> int:
        """`task` is sent a MonitorStatus for each task that is made through this object, and that has not ended yet.

        At the program that registered it, this is each task that anybody runs.  Do not yield it.

        Returns: 0; -1 if `task` is no Task.
        """
        if not isinstance(task, Task):
            return -1
        if not self.kernel.in_kernel_thread():
            self.kernel.post(self.monitor, task)
        elif task not in self._monitors:
            self._monitors[task] = None
            for made in self._live:
                made.notify(task)
        return 0

    def close(self) -> None:
        """Terminate the tasks made through this object that have not ended, and make no more.  Do not yield it.

        At the program that registered it, it is unregistered, too.
        """
        self._closed = True
        self.unregister()
        self.kernel.post(self._terminate_all)

    def _terminate_all(self) -> None:
        for task in list(self._live):
            task.terminate()

    def _made(self, task: Task) -> None:
        """Kernel thread: `task` was made through this object."""
        self._live[task] = None
        task.add_end_callback(self._ended)
        for monitor in list(self._monitors):
            if monitor.is_local and not monitor.is_alive():
                del self._monitors[monitor]
            else:
                task.notify(monitor)

    def _ended(self, task: Task) -> None:
        self._live.pop(task, None)


class LocatedRPS(RPS):
    """A reference to an RPS, by the incarnation of its process and its name there.

    network, location, incarnation: None for one of this process while there is no networking.
    """

    def __init__(
        self, kernel: Kernel, network: Network | None, location: Location | None, incarnation: int | None, name: str
    ) -> None:
        self.kernel = kernel
        self.name = name
        self._track()
        self._network = network
        self._location = location
        self._incarnation = incarnation

    @property
    def location(self) -> Location | None:
        return self._location

    def __reduce__(self) -> tuple[Any, ...]:
        if self._location is None:
            return super().__reduce__()
        return restore_rps, (self._location.addr, self._location.port, self._incarnation, self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocatedRPS) and (self._incarnation, self.name) == (other._incarnation, other.name)

    def __hash__(self) -> int:
        return hash((self._incarnation, self.name))

    def register(self) -> int:
        return -1

    def unregister(self) -> int:
        return -1

    @operation
    def __call__(self, *args: Any, **kwargs: Any) -> Generator[Any, Any, Task]:
        self._check_open()
        network = self._network
        if network is not None and self._incarnation != network.incarnation:
            task = yield from _Run(network, self, args, kwargs).answered()
        else:
            here: RPS | None = self.kernel.names.services.get(self.name)
            if here is None:
                raise RemoteError(self.not_registered())
            task = here.make_task(args, kwargs)
        self._made(task)
        if self._closed:  # while the answer was on its way
            task.terminate()
        return task

    def reach(self, network: Network) -> Peer | None:
        """The process that has it, None if that is gone."""
        assert self._location is not None and self._incarnation is not None
        return network.hub.peer_at(self._location, self._incarnation)

    def not_registered(self) -> str:
        return f"{self!r} is not registered there any more\n  write: rps = yield RPS.locate({self.name!r})"


class _Run:
    """One call of a remote RPS: asks for the task and for its end.  Kernel thread only."""

    def __init__(self, network: Network, rps: LocatedRPS, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.network = network
        self.rps = rps
        self.form, self.buffers = dumps((args, kwargs))
        self.task: RemoteTask | None = None
        self.error: BaseException | None = None
        self.given_up = False
        self._waiting: Completion[None] | None = None
        self._peer: Peer | None = None
        self._watch = 0
        self._space = spaces.of_task(network.kernel.current)

    def answered(self) -> Generator[Any, Any, Task]:
        """Ask, and wait for the task.  Whoever gives up waiting leaves no task behind."""
        self._ask(self.form, self.buffers)
        while self.task is None and self.error is None:
            self._waiting = Completion(self.network.kernel, "rps", None, WAITING_LOG_S)
            try:
                yield self._waiting
            except BaseException:
                self.given_up = True
                if self.task is not None:
                    self.task.terminate()
                raise
            if self.task is None and self.error is None:
                logger.warning("still waiting for %r to start a task: its process is busy or out of reach", self.rps)
        if self.task is None:
            assert self.error is not None
            raise self.error
        return self.task

    def _ask(self, form: int, buffers: list[Buffer]) -> None:
        peer = self._peer = self.rps.reach(self.network)
        if peer is None:
            self.error = self._gone()
            return
        requests = self.network.requests
        request = requests.add(peer, self._started)
        self._watch = requests.add(peer, self._ended)
        message = wire.RunRps(wire.EMPTY, form, False, self.rps.name, request, self._watch)
        try:
            if not peer.post_payload(message, buffers):
                self.error = self._gone()
        except ShippingError as error:
            self.error = error
        if self.error is not None:
            requests.drop(request)
            requests.drop(self._watch)

    def _gone(self) -> PeerError:
        reason = self._peer.reason if self._peer is not None else ""
        reason = f": {reason}" if reason else ""
        return PeerError(f"the process of {self.rps!r} is gone{reason}; if it has been started again, locate it again")

    def _started(self, answer: wire.Answer | None) -> None:
        rps = self.rps
        if answer is None:
            self.error = self._gone()
        elif answer.value == wire.RPS_RUNS:
            task: RemoteTask = loads(answer.form, answer.payload)
            task._watched = True
            self.task = task
            if self.given_up:
                task.terminate()
        elif answer.value == wire.RPS_MISFIT:
            self.error = TypeError(answer.error)
        elif answer.value == wire.RPS_UNKNOWN:
            self.error = RemoteError(rps.not_registered())
        else:
            self.error = RemoteError(f"{rps!r} cannot run: {answer.error}")
        if self.error is not None:
            self.network.requests.drop(self._watch)
        if self._waiting is not None:
            self._waiting.set_result(None)

    def _ended(self, answer: wire.Answer | None) -> None:
        if self.task is not None:
            with spaces.within(self._space):
                self.task.told(answer, self._peer.reason if self._peer is not None else "")


def restore_rps(addr: str, port: int, incarnation: int, name: str) -> RPS:
    """Unpickles a reference."""
    network: Any = current_kernel().ensure_network()
    return LocatedRPS(network.kernel, network, Location(addr, port), incarnation, name)
