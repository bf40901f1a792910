"""Client: what a program says to a cluster: packages its code, gets nodes, runs tasks at their servers.

This is the public face of the parts that it is made of here; the other half of it, about nodes and servers, is in
calls.py.  What happens in between, messages and decisions, is in shell.py and dispatch.py.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from parkcos.client import mapping
from parkcos.client.allocate import NodeAllocate, allocations
from parkcos.client.arguments import MIN_PULSE_INTERVAL, check_client
from parkcos.client.calls import ClusterCalls
from parkcos.client.closing import Closing
from parkcos.client.components import bundle
from parkcos.client.facts import Chooser
from parkcos.client.handle import TaskHandle
from parkcos.client.incoming import Incoming
from parkcos.client.limits import Errors, checked
from parkcos.client.nodes import Nodes
from parkcos.client.options import Options
from parkcos.client.overview import Overview
from parkcos.client.resuming import Resuming
from parkcos.client.shelf import BYTES_MAX
from parkcos.client.shell import NEW, ClientShell
from parkcos.client.side import ClientSide, Member
from parkcos.client.spaces import Space, Spaces
from parkcos.client.steering import Steering
from parkcos.client.stream import Results
from parkcos.client.submission import words_of
from parkcos.client.submitting import Submitting
from parkcos.client.turn import Turn
from parkcos.client.waiting import Waiting
from parkcos.client.whereabouts import Whereabouts
from parkcos.cluster.bundle import encode_bundle
from parkcos.cluster.requirements import parse_requirements
from parkcos.cluster.shared import Shared
from parkcos.errors import ScheduleError, UsageError
from parkcos.kernel import Completion, Task, operation
from parkcos.kernel import target as targets
from parkcos.kernel.registry import cur_task, current_kernel
from parkcos.kernel.wait import seconds
from parkcos.net.location import Location
from parkcos.net.runtime import Parkcos

SPACE_BITS = 60
"""Of the first number of a space, by chance where other programs of the client may have given some."""


class Client(ClusterCalls):
    """A program's claim to the nodes of a cluster, and its way to run tasks there.

    Args:
        components: functions, generator functions, classes, modules, packages and paths of files that the tasks use;
            they travel once to each node.  What is not listed travels once to each server, when it is needed; what is
            large, once to each node, too.
        nodes: names, addresses and :class:`NodeAllocate`; a node that matches none is not used.  Empty: all nodes.
        status_task: a Task that is sent :class:`Status` and MonitorStatus messages; the attribute of that name may be
            set later, before `schedule` if it is to be told everything.
        node_setup: a generator function without arguments, run at each node before its servers are forked; it must
            return 0.  It has no network.  What it loads into globals, all servers of the node share.
        server_setup: a generator function without arguments, run at each server before its tasks; must return 0.
        pulse_interval: seconds between what the nodes say of themselves (NodeAvailInfo); within five of them, and 25 s,
            it is noticed that a node or server is silent; within five of them, and 75 s at least, it may come back.
        disable_nodes: a node that is found is used only when ``enable_node`` is called.
        disable_servers: a server that is started is used only when ``enable_server`` is called.
        restart_servers: start a fresh server whenever one is closed.
        abandon_zombie_nodes: a node of which nothing is heard is given up at once, its tasks end as TaskAbandoned; else
            it is given no more tasks until it is heard again, or is silent for too long.
        name: of this client, for others.
        requirements: what a node's Python must have: packages, with versions or without, and modules, as "numpy>=1.26"
            or "mypackage.tools".  A node that lacks one is not used; the log says which, and so does its Status.
        forward_output: show here what tasks print there, and node_setup and server_setup, line by line, each with the
            name of the node and the number of the server: "[node/2] ...".
        threads: how many a call of numpy and the like uses at a server, which has one processor: None for one, unless
            the node's environment says otherwise (``OMP_NUM_THREADS`` and its kin); 0 for what they choose themselves.
        seed: a whole number from which each task's random numbers follow, wherever and however often it runs: see
            ``Task.seed``.  None: they are different each time.
        shared_bytes_max: bytes that each node keeps of what is shared (`share`); 4 GiB by default.
        identity: a file, made on first use, by which the next run of this program is known as the same client: it takes
            over nodes, servers and tasks of one that was lost and has not closed.  See ``resumed``, docs/restart.md.
        orphan_s: seconds for which these are kept for it, if it has an identity; nodes and schedulers have bounds of
            their own (``--orphan_max``).

    The calls whose description says so are to be yielded (or awaited) in a task.

    Raises: UsageError, ConfigError, ShippingError for what cannot be used.  Source: chapter 6.4.
    """

    _yield_advice = "{}.schedule()"

    def __init__(
        self,
        components: Any = (),
        *,
        nodes: Sequence[str | NodeAllocate] = (),
        status_task: Task | None = None,
        node_setup: Callable[..., Any] | None = None,
        server_setup: Callable[..., Any] | None = None,
        pulse_interval: float = 5 * MIN_PULSE_INTERVAL,
        disable_nodes: bool = False,
        disable_servers: bool = False,
        restart_servers: bool = False,
        abandon_zombie_nodes: bool = False,
        name: str = "",
        requirements: Sequence[str] = (),
        forward_output: bool = False,
        threads: int | None = None,
        seed: int | None = None,
        shared_bytes_max: int = BYTES_MAX,
        identity: str | os.PathLike[str] | None = None,
        orphan_s: float = 120.0,
    ) -> None:
        for fn in (node_setup, server_setup):
            if fn is not None:
                targets.check({}, fn)
        _must_be_status_task(status_task)
        check_client(name, pulse_interval, threads, seed, shared_bytes_max, orphan_s)
        self.name = name or _program_name()
        shell = self._shell = ClientShell(self.name)
        shell.status_task = status_task
        shell.machine.members.disable_nodes = disable_nodes
        shell.machine.members.disable_servers = disable_servers
        shell.machine.controls.abandon_zombies = abandon_zombie_nodes
        shell.sharing.bytes_max = shared_bytes_max
        used = self._nodes = Nodes(shell, allocations(nodes), forward_output)
        used.restart_servers, used.pulse_interval = restart_servers, float(pulse_interval)
        turn = self._turn = Turn(shell)
        self._closing = Closing(shell, turn)
        self._whereabouts = Whereabouts(shell, used)
        self._steering = Steering(shell, used, turn, self._whereabouts, node_setup, server_setup)
        self._overview = Overview(shell, used, turn, self._whereabouts)
        words = None if seed is None else words_of(seed)
        self._submitting = Submitting(shell, self._whereabouts, used.choosing, words)
        self._spaces = Spaces(shell, used, self._submitting.forget_space)
        self._resuming = Resuming(shell, used)
        self._incoming = Incoming(shell, used, turn, self._resuming)
        self._waiting = Waiting(shell, used, turn)
        self._components = components
        self._requirements = parse_requirements(requirements)
        self._threads = threads
        self._identity = None if identity is None else Path(identity)
        if identity is not None:
            shell.orphan_s = float(orphan_s)
            self._spaces.count_from(secrets.randbits(SPACE_BITS))

    def __repr__(self) -> str:
        return repr(self._shell)

    def __reduce__(self) -> Any:
        raise UsageError("a Client cannot leave its program: a task at a server sends messages to the client's tasks")

    @property
    def status_task(self) -> Task | None:
        """As given; may be set until `schedule`."""
        return self._shell.status_task

    @status_task.setter
    def status_task(self, task: Task | None) -> None:
        self._shell.status_task = task

    @property
    def restart_servers(self) -> bool:
        """As given; may be set until `schedule`."""
        return self._nodes.restart_servers

    @restart_servers.setter
    def restart_servers(self, restart: bool) -> None:
        self._nodes.restart_servers = restart

    @property
    def pulse_interval(self) -> float:
        """As given; may be set until `schedule`."""
        return self._nodes.pulse_interval

    @pulse_interval.setter
    def pulse_interval(self, interval: float) -> None:
        self._nodes.pulse_interval = interval

    # -- how long it lives

    def __enter__(self) -> Self:
        self._closing.in_block = True
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._closing.leave_block(kind)

    async def __aenter__(self) -> Self:
        self._closing.in_block = True
        if self._shell.state is NEW:
            await self.schedule()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is GeneratorExit:
            self._closing.begin(True)
        else:
            await self.close(terminate=kind is not None)

    @operation
    def schedule(
        self, location: Location | str | None = None, timeout: float | None = None
    ) -> Generator[Any, Any, int]:
        """Get in line at a scheduler and wait for the turn.  Yield it.

        Args:
            location: of a shared scheduler: a Location, or a host whose scheduler has the default port.  None: the
                scheduler of this program (or the local cluster), else a shared one found by broadcast, else a new
                one of this program.
            timeout: seconds; None for ever.

        Returns: 0 when it is the client's turn (nodes come one after the other); -1 after `timeout`: then the client
        has left the queue, and may be scheduled again.
        Raises: ScheduleError if this client was scheduled before, is closed while it waits, or there is another
        program, and no scheduler, at `location`; ConfigError if the network cannot be used, or a host's name is
        unknown; ShippingError, UsageError for components and setups that cannot travel.
        """
        limit = seconds(timeout)
        if location is not None and not isinstance(location, Location | str):
            raise UsageError(f"schedule({location!r}): give the scheduler's Location, or its host's name or address")
        if self._shell.state is not NEW:
            raise ScheduleError(f"{self!r} was scheduled before, or closed; make another Client")
        self._prepare()
        shell, turn, incoming, closing = self._shell, self._turn, self._incoming, self._closing
        member = Member(
            shell, incoming.received, incoming.process_gone, incoming.lose_cluster, turn.holding, closing.give_way
        )
        turn.enter(member, cur_task(), closing.owner_ended)
        end = None if limit is None else shell.kernel.clock() + limit
        try:
            code: int = yield turn.wait(location, self._nodes.allocations, end, self._found)
        except BaseException:
            turn.leave_queue()
            raise
        if code == -1 and turn.give_up():
            return -1
        self._resuming.begin()
        return 0

    def _found(self) -> None:
        """There is a scheduler: from now on it says what it waits for, and looks for who is silent."""
        shell = self._shell
        shell.network.io.call(self._waiting.say, shell.id)
        shell.network.io.call(self._incoming.look_for_silence, shell.id)

    def _prepare(self) -> None:
        """Pack what travels, and find the network: whatever is wrong with either is raised before anything begins."""
        shell, nodes, setups = self._shell, self._nodes, self._steering
        members = shell.machine.members
        if (members.disable_nodes or members.disable_servers) and shell.status_task is None:
            what = "disable_nodes" if members.disable_nodes else "disable_servers"
            raise UsageError(f"{what}=True needs a status_task, which is told of each and enables it")
        _must_be_status_task(shell.status_task)
        network = Parkcos.instance().network
        shipper, packed = bundle(
            self._components, setups.node_setup, self._requirements, self._threads, self._submitting.is_seeded
        )
        if setups.server_setup is not None:
            nodes.setup_call = shipper.pack((setups.server_setup, (), {}))
        nodes.bundle, nodes.encoded_bundle = packed, encode_bundle(packed)
        side = ClientSide.of(network)
        identity = side.take_identity(self._identity) if self._identity is not None else None
        shell.begin(current_kernel(), network, side, shipper, packed, identity)
        if identity is not None:
            self._submitting.count_from(identity.first_number)

    def resumed(self) -> Completion[list[TaskHandle]]:
        """What the earlier runs of this program have left: handles of their tasks, in the order of their numbers.

        Yield it, after ``schedule``.  It waits until each node and server of theirs has answered or is known to be
        gone; then tasks that are gone with them, or had not come to them, have ended as lost (TaskAbandoned).  Each of
        the others is as if this program had submitted it: it runs, or its outcome comes, until it is released
        (``handle.release()``).

        Raises: UsageError if this client has no identity; ScheduleError if it runs no tasks.
        """
        return self._resuming.resumed()

    # -- tasks

    def submit(
        self,
        fn: Callable[..., Any],
        /,
        *args: Any,
        where: Location | str | Chooser | None = None,
        io: bool = False,
        priority: int = 0,
        timeout_s: float | None = None,
        retries: int = 0,
        retry_on: Errors = (),
        name: str = "",
        own_process: bool = False,
        niceness: int = 0,
        space: str | Space = "",
        **kwargs: Any,
    ) -> TaskHandle:
        """Have ``fn(*args, **kwargs)`` run as a task at a server.  Do not yield it, but what it gives; any thread.

        Args:
            fn: a plain function, a generator function or an ``async def``; or what ``pack_call`` of another program
                gave: then what comes of it is a ``RawOutcome``, which that program opens.
            where: a server's Location, or a node's address or name; or a function that is told of a node and one of its
                servers (``NodeFacts``, ``ServerFacts`` of ``parkcos.client.facts``) and says whether the task may run
                there; it is called once for each server as long as a task of it has not ended, in any thread.  None:
                anywhere.
            io: it mostly waits: it runs beside others.
            priority: among the tasks that wait, the higher is first, and within one who came first.  What runs is left
                alone.
            timeout_s, retries, retry_on, name, own_process, niceness, space: as for :meth:`options`.

        Returns: the task's handle, at once.  ``yield handle`` (or ``await`` it, or ``handle.result()`` in a thread)
        gives what `fn` returned.  Where it must run but cannot is told there, too.
        Raises: ShippingError if the call cannot travel; ScheduleError if the client is not scheduled; UsageError.
        """
        self._shell.must_run()
        if type(priority) is not int:
            raise UsageError(f"submit(priority={priority!r}): give a whole number")
        limits = checked(
            timeout_s,
            retries,
            name,
            retry_on,
            own_process=own_process,
            niceness=niceness,
            call="submit",
            priority=priority,
            space=self._spaces.find(space, "submit"),
        )
        return self._submitting.submit(where, io, fn, args, kwargs, limits)

    def rtask(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Completion[Task]:
        """Run ``fn(*args, **kwargs)`` as a task at the least loaded node, where no other CPU task runs.  Yield it.

        Waits until a server is free for it.  Returns: the remote Task, when it has been created there.
        Raises: ShippingError if the arguments cannot travel; ScheduleError if the client is not scheduled;
        RemoteError if the task cannot be created there, with the reason; TaskAbandoned if that server is lost.
        """
        return self._submitting.start("rtask", None, False, fn, args, kwargs)

    def rtask_at(self, where: Location | str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Completion[Task]:
        """As `rtask`, at a server (its Location) or at any server of a node.  Yield it.

        where: for a node its address, its own name, that in ``nodes``, or another, which a name server is asked for.
        """
        return self._submitting.start("rtask_at", where, False, fn, args, kwargs)

    def io_rtask(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Completion[Task]:
        """As `rtask`, for a task that mostly waits: it runs beside others, and `close` does not wait for it."""
        return self._submitting.start("io_rtask", None, True, fn, args, kwargs)

    def io_rtask_at(
        self, where: Location | str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Completion[Task]:
        """As `io_rtask`, at a server or node.  Yield it."""
        return self._submitting.start("io_rtask_at", where, True, fn, args, kwargs)

    run, run_at, run_async, run_async_at = rtask, rtask_at, io_rtask, io_rtask_at

    def options(
        self,
        *,
        timeout_s: float | None = None,
        retries: int = 0,
        name: str = "",
        retry_on: Errors = (),
        own_process: bool = False,
        niceness: int = 0,
        space: str | Space = "",
    ) -> Options:
        """The calls that run tasks, with options: ``yield client.options(timeout_s=60).rtask(work, x)``.

        Args:
            timeout_s: seconds that a task may run at a server; then it gets KeyboardInterrupt, and five seconds later
                it is ended, wherever it hangs, if need be with its server (if that is in C code that holds the
                interpreter, about ten seconds later still); it ends as TaskTimeout.
            retries: how often it is run again when its server or node is lost.  The Task that `rtask` gave stands for
                all runs: its result is that of the last one, messages go to the one that runs.
            name: of the tasks, for statuses and logs.
            retry_on: an exception class, or a tuple: a task that raises it is run again, too.
            own_process: each task gets a process forked for it alone, beside the servers that compute, which ends with
                it.  How many of these a node has at once is bounded there (``parkcosnode.py --own_max``).
            niceness: of that process, from 0 to 19, added to that of its node.
            space: in which they run, by its name or as :meth:`space` gave it; "": in none.

        Raises: UsageError.
        """
        limits = checked(
            timeout_s,
            retries,
            name,
            retry_on,
            own_process=own_process,
            niceness=niceness,
            space=self._spaces.find(space, "options"),
        )
        return Options(self._submitting, limits)

    def space(
        self, name: str, preload: Sequence[str] = (), env: Mapping[str, str] | None = None, exclusive: bool = False
    ) -> Space:
        """A group of tasks whose definitions do not meet those of other tasks.  Do not yield it; any thread.

        Two jobs may each have a function, class or global of the same name, in modules of the same name: in two spaces
        they run side by side, even at one server, and neither travels again when they alternate.  With ``exclusive``
        they do not share a process, either.

        Args:
            name: by which calls may name it; the same name is the same space until that is closed.
            preload: modules that are imported once at each node, before the space's processes are forked.
            env: environment variables of these processes, as ``{"OMP_NUM_THREADS": "1"}``.
            exclusive: the space has processes of its own at the nodes, beside the servers: nothing in them, modules,
                environment, current folder or what a task leaves behind, is shared with other tasks.  They come when
                tasks wait for them, and stay; not more CPU tasks compute at a node than it has servers.  They count
                as ``parkcosnode.py --own_max``.

        Returns: the space; close it, or use it in ``with``, when no more of its tasks will come.
        Raises: UsageError.
        """
        return self._spaces.open(name, preload, {} if env is None else env, exclusive)

    def map(
        self, fn: Callable[..., Any], /, *iterables: Iterable[Any], chunksize: int = 1, ordered: bool = True
    ) -> Results:
        """``fn(x, y, ...)`` for what the iterables give, at the servers; as the builtin ``map``, in parallel.

        ``for item in client.map(work, xs): result = yield item``, or ``async for result in client.map(work, xs)``, or,
        for all in a list, ``results = yield client.map(work, xs)``.  See mapping.py for what is bounded.

        Args:
            fn: a plain function, a generator function or an ``async def``.
            iterables: may be infinite: what they give is taken a few chunks for each server ahead.
            chunksize: so many calls are one CPU task; for calls that take less than a millisecond or so.
            ordered: results in the order of the inputs, else as they come.

        Returns: an iterator of things to yield.  What a call raises is raised there; TaskAbandoned if its server is
        lost.  Who leaves the loop early leaves the rest: see ``close`` of what this returns.
        Raises: UsageError, ScheduleError.
        """
        return mapping.start(self._submitting, fn, iterables, chunksize, ordered)

    def share(self, obj: Any) -> Shared:
        """Have an object travel to each node once, however many tasks need it there.  Not to be yielded.

        Give what this returns to tasks, in place of the object: ``yield client.rtask(work, shared, x)``, or
        ``client.map(work, itertools.repeat(shared), xs)``; or name it in their code, as a global.  At the servers it is
        the object itself: arrays are read from one file by all servers of a node, and are read-only; what else there is
        in it, each server makes once.  So tasks do not change it.

        Args:
            obj: whatever a task could be given.  It is shared as it is now: later changes in it reach no task.

        Returns: what stands for it.  Its file, in the temporary folder, is gone with the last reference to that.
        A node keeps as much as ``Client(shared_bytes_max=...)`` says; what was used the longest time ago goes first,
        and comes again if it is needed.
        Raises: ShippingError if it cannot travel, is too large for a node, or there is no room for its file;
        ScheduleError if the client is not scheduled.
        """
        return self._submitting.share(obj)

    def close(self, await_io: bool = False, terminate: bool = False, timeout: float | None = None) -> Completion[None]:
        """End the client: wait for its CPU tasks, end its servers, give the nodes to the next client.  Yield it.

        Every result that its tasks have sent has arrived when this returns.

        Args:
            await_io: wait for I/O tasks too.
            terminate: wait for no task: each gets KeyboardInterrupt and five seconds.
            timeout: seconds after which waiting tasks are terminated; None for ever.

        Raises: UsageError.
        """
        return self._closing.close(await_io, terminate, timeout)


def _must_be_status_task(given: Any) -> None:
    if given is not None and not isinstance(given, Task):
        raise UsageError(f"status_task must be a Task, not {given!r}\n  write: status_task=Task(status_proc)")


def _program_name() -> str:
    return os.path.basename(sys.argv[0] if sys.argv else "") or "client"
