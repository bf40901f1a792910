"""Client: packages a program's code, gets nodes from a scheduler, runs tasks at their servers.

The decisions are the dispatch machine's; this is its shell.  Events come from the kernel thread (a task submitted)
and from the I/O thread (what nodes and servers say), under one lock; what they lead to is sent from there.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

from parkcos.client import dispatch as d
from parkcos.client.allocate import NodeAllocate, allocations, cpus_wanted
from parkcos.client.components import bundle
from parkcos.client.rtasks import Submission, name_of
from parkcos.client.side import SAY_S, ClientSide
from parkcos.client.status import NodeAvailInfo, Status, Statuses, TaskInfo
from parkcos.cluster import messages as m
from parkcos.cluster.shipping import Definition
from parkcos.cluster.timer import DeadlineTimer
from parkcos.errors import ParkcosError, RemoteError, ScheduleError, TaskAbandoned, UsageError
from parkcos.kernel import Completion, MonitorStatus, Outcome, Task, operation
from parkcos.kernel import target as targets
from parkcos.kernel.registry import current_kernel
from parkcos.kernel.wait import seconds
from parkcos.net import outcomes
from parkcos.net.location import Location
from parkcos.net.payload import PICKLE, Buffer
from parkcos.net.refs import RemoteTask
from parkcos.net.runtime import Parkcos

logger = logging.getLogger("parkcos")

NEW, WAITING, RUNNING, CLOSED = "new", "waiting", "running", "closed"


class Client:
    """A program's claim to the nodes of a cluster, and its way to run tasks there.

    Args:
        components: functions, generator functions, classes, modules, packages and paths of files that the tasks use;
            they travel once to each node.  What is not listed travels once to each server, when it is needed.
        nodes: names, addresses and :class:`NodeAllocate`; a node that matches none is not used.  Empty: all nodes.
        status_task: a Task that is sent :class:`Status` and MonitorStatus messages.
        node_setup: a generator function without arguments, run at each node before its servers are forked; it must
            return 0.  It has no network.  What it loads into globals, all servers of the node share.
        server_setup: a generator function without arguments, run at each server before its tasks; must return 0.
        restart_servers: start a fresh server whenever one is closed.
        name: of this client, for others.

    The calls whose description says so are to be yielded (or awaited) in a task.

    Raises: UsageError, ConfigError, ShippingError for what cannot be used.  Source: chapter 6.4.
    """

    def __init__(
        self,
        components: Any = (),
        *,
        nodes: Sequence[str | NodeAllocate] = (),
        status_task: Task | None = None,
        node_setup: Callable[..., Any] | None = None,
        server_setup: Callable[..., Any] | None = None,
        restart_servers: bool = False,
        name: str = "",
    ) -> None:
        for fn, what in ((node_setup, "node_setup"), (server_setup, "server_setup")):
            if fn is not None:
                targets.check({}, fn)
        if status_task is not None and not isinstance(status_task, Task):
            raise UsageError(f"status_task must be a Task, not {status_task!r}\n  write: status_task=Task(status_proc)")
        self.status_task = status_task
        self.restart_servers = restart_servers
        self.name = name or os.path.basename(getattr(__import__("__main__"), "__file__", "") or "client")
        self._allocations = allocations(nodes)
        self._node_setup = node_setup
        self._server_setup = server_setup
        self._components = components
        self._id = int.from_bytes(os.urandom(8)) >> 1 | 1
        self._state = NEW
        self._machine = d.Dispatch()
        self._lock = threading.RLock()
        self._submissions: dict[int, Submission] = {}
        self._numbers = itertools.count(1).__next__
        self._known: dict[int, set[bytes]] = {}
        """The digests of the definitions that each server has."""
        self._infos: dict[int, m.NodeInfo] = {}
        self._locations: dict[int, Location] = {}
        self._unusable: dict[str, str] = {}
        self._packed: dict[Any, tuple[int, list[Buffer], list[Definition]]] = {}
        self._turn: Completion[int] | None = None
        self._closing: list[Completion[None]] = []
        self._scheduler = 0
        self._position = 0
        self._ready_servers = 0

    def __repr__(self) -> str:
        return f"<Client {self.name}, {self._state}>"

    def __reduce__(self) -> Any:
        raise UsageError("a Client cannot leave its program: a task at a server talks to the tasks of the client instead")

    # -- the queue

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

        Returns: 0 when it is the client's turn (nodes come one after the other); -1 after `timeout`.
        Raises: ScheduleError if this client was scheduled before; ShippingError, UsageError for bad components.
        """
        limit = seconds(timeout)
        if self._state is not NEW:
            raise ScheduleError(f"{self!r} was scheduled before; make another Client")
        self._state = WAITING
        self._kernel = current_kernel()
        network = self._network = Parkcos.instance().network
        self._side = ClientSide.of(network)
        self._shipper, self._bundle = bundle(self._components, self._node_setup)
        self._bundle_digests = {definition.digest for definition in self._bundle.definitions}
        self._encoded_bundle = m.encode_bundle(self._bundle)
        self._timer = DeadlineTimer(network.io.loop, self._machine.next_deadline, self._time_passed)
        self._side.clients[self._id] = self
        end = None if limit is None else self._kernel.clock() + limit
        contacts = [a.location for a in self._allocations if a.location is not None and a.use]
        self._scheduler = yield self._side.find_scheduler(location, contacts, end)
        if not self._scheduler:
            self._forget()
            return -1
        network.io.call(self._say)
        left = None if end is None else max(0.0, end - self._kernel.clock())

        def start(completion: Completion[int]) -> None:
            self._turn = completion
            if not self._to_scheduler(m.Enqueue(self._id, self.name, network.hub.own.python)):
                raise ScheduleError("the scheduler is gone")

        def give_up() -> None:
            self._turn = None
            self._to_scheduler(m.ClientLeaves(self._id))
            self._forget()

        done: int = yield Completion(self._kernel, "schedule", start, left, -1, give_up)
        return done

    def _to_scheduler(self, message: m.Message) -> bool:
        return self._side.box.send(self._scheduler, "scheduler", message)

    def _forget(self) -> None:
        self._state = CLOSED
        self._side.clients.pop(self._id, None)

    def _say(self) -> None:
        """I/O thread: every few seconds, what this client waits for."""
        if self._state is CLOSED:
            return
        self._network.io.loop.call_later(SAY_S, self._waits_for)

    def _waits_for(self) -> None:
        machine = self._machine
        if self._state is WAITING:
            logger.info("%s waits for its turn: %d clients are before it", self.name, max(1, self._position))
        elif self._state is RUNNING and not self._ready_servers and not machine.closing:
            if machine.nodes:
                logger.info("%s waits for the servers of %d nodes to be ready", self.name, len(machine.nodes))
            else:
                seen = "; ".join(f"{name}: {why}" for name, why in self._unusable.items())
                logger.warning(
                    "%s has no node yet. Start one on each machine with  parkcosnode.py  (the same secret, UDP port %d "
                    "open), or name one: Client(nodes=['HOST']). %s",
                    self.name,
                    self._network.options.udp_port,
                    f"Seen, but not usable: {seen}" if seen else "None was seen on the network",
                )
        elif machine.closing and self._state is RUNNING:
            logger.info("%s is closing: waits for %d tasks and %d nodes", self.name, len(machine.tasks), len(machine.nodes))
        self._say()

    # -- tasks

    def rtask(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Completion[Task]:
        """Run ``fn(*args, **kwargs)`` as a task at the least loaded node, where no other CPU task runs.  Yield it.

        Waits until a server is free for it.  Returns: the remote Task, when it has been created there.
        Raises: ShippingError if the arguments cannot travel; ScheduleError if the client is not scheduled;
        RemoteError if the task cannot be created there, with the reason; TaskAbandoned if that server is lost.
        """
        return self._submit("rtask", None, False, fn, args, kwargs)

    def rtask_at(self, where: Location | str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Completion[Task]:
        """As `rtask`, at a server (its Location) or at any server of a node (its address or name).  Yield it."""
        return self._submit("rtask_at", where, False, fn, args, kwargs)

    def io_rtask(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Completion[Task]:
        """As `rtask`, for a task that mostly waits: it runs beside others, and `close` does not wait for it."""
        return self._submit("io_rtask", None, True, fn, args, kwargs)

    def io_rtask_at(
        self, where: Location | str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Completion[Task]:
        """As `io_rtask`, at a server or node.  Yield it."""
        return self._submit("io_rtask_at", where, True, fn, args, kwargs)

    run, run_at, run_async, run_async_at = rtask, rtask_at, io_rtask, io_rtask_at

    def _submit(
        self, what: str, where: Any, io: bool, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Completion[Task]:
        if self._state is not RUNNING:
            raise ScheduleError(f"{self!r} runs no tasks\n  write: yield client.schedule()  first, and close() last")
        targets.check(self._kernel.kinds, fn)

        number = 0

        def start(completion: Completion[Task]) -> None:
            nonlocal number
            form, buffers, definitions = self._shipper.pack((fn, args, kwargs))
            server, node = self._place(where)
            number = self._numbers()
            self._submissions[number] = Submission(
                name_of(fn), io, args, kwargs, form, buffers, definitions, completion
            )
            self._handle(d.Submitted(number, io, server, node))

        return Completion(self._kernel, what, start, on_cancel=lambda: self._handle(d.Withdrawn(number)))

    def _place(self, where: Any) -> tuple[int, int]:
        """(server, node) numbers that `where` means.  Raises: ScheduleError if there is none of them."""
        if where is None:
            return 0, 0
        with self._lock:
            if isinstance(where, Location):
                for number, location in self._locations.items():
                    if location == where and number in self._machine.servers:
                        return number, 0
                addr = where.addr
                for number, node in self._machine.nodes.items():
                    if (node.info.addr, node.info.port) == (addr, where.port):
                        return 0, number
            elif isinstance(where, str):
                for number, node in self._machine.nodes.items():
                    if where in (node.info.addr, node.info.name):
                        return 0, number
                resolved = Location(where, 0).addr
                for number, node in self._machine.nodes.items():
                    if node.info.addr == resolved:
                        return 0, number
        raise ScheduleError(f"this client uses no server or node at {where}; it uses {list(self._locations.values())}")

    def close(self, await_io: bool = False, terminate: bool = False, timeout: float | None = None) -> Completion[None]:
        """End the client: wait for its CPU tasks, end its servers, give the nodes to the next client.  Yield it.

        Every result that its tasks have sent has arrived when this returns.

        Args:
            await_io: wait for I/O tasks too.
            terminate: wait for no task: each gets KeyboardInterrupt and five seconds.
            timeout: seconds after which waiting tasks are terminated; None for ever.
        """

        def start(completion: Completion[None]) -> None:
            if self._state in (NEW, CLOSED):
                self._state = CLOSED
                completion.set_result(None)
                return
            if self._state is WAITING:
                self._to_scheduler(m.ClientLeaves(self._id))
                self._forget()
                completion.set_result(None)
                return
            self._closing.append(completion)
            self._handle(d.CloseAsked(terminate, await_io))
            if timeout is not None and not terminate:
                self._network.io.call(
                    self._network.io.loop.call_later, max(0.0, timeout), self._handle, d.CloseAsked(True)
                )

        return Completion(self._kernel if self._state is not NEW else current_kernel(), "close", start)

    # -- what there is

    def nodes(self) -> Completion[list[str]]:
        """The addresses of the nodes that this client uses.  Yield it."""
        return self._ask("nodes", lambda: [n.info.addr for n in self._machine.nodes.values() if n.state == d.READY])

    def servers(self) -> Completion[list[Location]]:
        """The locations of the servers that are ready.  Yield it."""
        return self._ask(
            "servers", lambda: [self._locations[s] for s, r in self._machine.servers.items() if r.state == d.OPEN]
        )

    def tasks(self, where: Location | str | None = None) -> Completion[list[Task]]:
        """The tasks that run at a server or node, or at all (None).  Yield it."""

        def look() -> list[Task]:
            server, node = self._place(where)
            found: list[Task] = []
            for number, task in self._machine.tasks.items():
                at = self._machine.servers.get(task.server)
                there = where is None or task.server == server or (at is not None and at.node == node)
                rtask = self._submissions[number].rtask
                if task.started and there and rtask is not None:
                    found.append(rtask)
            return found

        return self._ask("tasks", look)

    def _ask(self, what: str, look: Callable[[], Any]) -> Completion[Any]:
        def start(completion: Completion[Any]) -> None:
            with self._lock:
                completion.set_result(look())

        return Completion(current_kernel(), what, start)

    # -- what comes in (I/O thread)

    def _received(self, process: int, message: Any, form: int, payload: Buffer) -> None:
        match message:
            case m.TaskStarted():
                submission = self._submissions.get(message.task)
                if submission is not None:
                    submission.remote_id = message.id
                    self._handle(d.Started(message.task))
            case m.TaskEnded():
                if message.task in self._submissions:
                    self._handle(d.Ended(message.task, message.seconds))
                    self._kernel.post(self._end, message.task, message.kind, form, payload)
            case m.TaskRefused():
                self._handle(d.Refused(message.task, message.error))
            case m.TaskRecalled():
                self._handle(d.Recalled(message.task, message.ok))
            case m.ServerUp():
                node = self._infos[process]
                location = Location(message.addr or node.addr, message.port)
                self._locations[message.incarnation] = location
                self._handle(d.ServerIsUp(process, message.incarnation, location.addr, location.port))
            case m.ServerReady():
                self._handle(d.ServerIsReady(process))
            case m.ServerFailed():
                logger.error("%s: a server at %s cannot be used: %s", self.name, self._locations.get(process), message.error)
                self._handle(d.ServerSetupFailed(process, message.error))
            case m.ServerDown():
                if not message.asked and not self._machine.closing:
                    logger.warning("%s: server %s: %s", self.name, self._locations.get(message.incarnation), message.reason)
                self._handle(d.ServerIsDown(message.incarnation, message.reason, message.restarts, message.asked))
            case m.NodeReady():
                self._handle(d.NodeIsReady(process))
            case m.NodeFailed():
                info = self._infos.get(process)
                logger.error("%s: the node %s cannot be used: %s", self.name, info.name if info else process, message.error)
                self._handle(d.NodeHasFailed(process, message.error))
            case m.NodeClosed():
                self._handle(d.NodeHasClosed(process))
            case m.NodeOffer():
                self._infos[message.info.incarnation] = message.info
                self._kernel.post(self._offered, message.info)
            case m.NodeGranted():
                # A node found by the shared scheduler is dialled here for the first time.
                info = self._infos[message.node]
                self._network.hub.peer_at(Location(info.addr, info.port), info.incarnation)
                self._handle(d.Granted(message.node))
            case m.NodeUnusable():
                self._handle(d.NodeHasFailed(message.info.incarnation, message.reason))
                self._unusable[f"{message.info.name} ({message.info.addr}:{message.info.port})"] = message.reason
                logger.log(
                    logging.INFO if "another client" in message.reason else logging.WARNING,
                    "%s: the node %s at %s is not used: %s",
                    self.name,
                    message.info.name,
                    message.info.addr,
                    message.reason,
                )
            case m.Queued():
                self._position = message.position
            case m.Scheduled():
                if self._state is WAITING:
                    self._state = RUNNING
                    self._tell(Statuses.ClientScheduled, None)
                    if self._turn is not None:
                        self._turn.set_result(0)

    def _offered(self, info: m.NodeInfo) -> None:
        """Kernel thread: `allocate` may be the user's."""
        try:
            cpus = cpus_wanted(self._allocations, info)
        except Exception:
            logger.exception("an allocate() of %s failed; the node %s is not used", self.name, info.name)
            cpus = 0
        self._handle(d.Offered(info, cpus))

    def _process_gone(self, process: int, reason: str) -> None:
        if process == self._scheduler:
            if self._state is WAITING and self._turn is not None:
                self._turn.set_exception(ScheduleError(f"the scheduler is gone: {reason}"))
                self._forget()
            elif self._state is RUNNING:
                logger.warning("%s: the scheduler is gone (%s); the client goes on with its nodes", self.name, reason)
                self._handle(d.SchedulerLost(reason))
        if self._state is RUNNING:
            self._handle(d.ProcessLost(process, reason))

    def _time_passed(self) -> None:
        self._handle(d.TimePassed())

    # -- the machine

    def _handle(self, event: d.Event) -> None:
        """Tell the machine a fact and do what it says; any thread."""
        with self._lock:
            effects = self._machine.handle(event, time.monotonic())
            for effect in effects:
                self._EXECUTE[type(effect)](self, effect)
            deadline = self._machine.next_deadline()
        if deadline != self._timer._armed_for:
            self._network.io.call(self._timer.rearm)

    def _run(self, effect: d.Run) -> None:
        submission = self._submissions[effect.task]
        definitions: list[Definition] = []
        if submission.definitions:
            known = self._known[effect.server]
            for definition in submission.definitions:
                if definition.digest not in known:
                    known.add(definition.digest)
                    definitions.append(definition)
        message = m.RunTask(self._id, effect.task, submission.name, effect.io, definitions)
        self._side.box.send(effect.server, "server", message, submission.form, submission.buffers)

    def _recall(self, effect: d.Recall) -> None:
        self._side.box.send(effect.server, "server", m.RecallTask(self._id, effect.task))

    def _report_started(self, effect: d.ReportStarted) -> None:
        submission = self._submissions[effect.task]
        rtask = RemoteTask(
            self._network, self._locations[effect.server], effect.server, submission.remote_id, submission.name
        )
        rtask._watched = True
        submission.rtask = rtask
        submission.start_time = time.time()
        if submission.completion is not None:
            submission.completion.set_result(rtask)
            submission.completion = None
        if self.status_task is not None:
            self._tell(
                Statuses.TaskStarted, TaskInfo(rtask, submission.args, submission.kwargs, submission.start_time)
            )

    def _report_refused(self, effect: d.ReportRefused) -> None:
        submission = self._submissions.pop(effect.task)
        if submission.completion is not None:
            submission.completion.set_exception(RemoteError(effect.error))

    def _report_abandoned(self, effect: d.ReportAbandoned) -> None:
        submission = self._submissions.pop(effect.task)
        error = TaskAbandoned(f"{submission.name}: {effect.reason}")
        if submission.completion is not None:
            submission.completion.set_exception(error)
        elif submission.rtask is not None:
            self._kernel.post(self._finish, submission, outcomes.abandoned(error))

    def _end(self, number: int, kind: str, form: int, payload: Buffer) -> None:
        """Kernel thread: open a task's result, and tell those who wait for it."""
        submission = self._submissions.pop(number, None)
        if submission is not None and submission.rtask is not None:
            where = str(submission.rtask.location)
            self._finish(submission, outcomes.unpack(kind, form, payload, where))

    def _finish(self, submission: Submission, outcome: Outcome) -> None:
        rtask = submission.rtask
        assert rtask is not None
        rtask.ended(outcome)
        if self.status_task is not None:
            self.status_task.send(MonitorStatus.of(rtask, outcome))

    def _tell(self, status: int, info: Any, reason: str = "") -> None:
        if self.status_task is not None:
            self.status_task.send(Status(status, info, reason))

    def _report_status(self, effect: d.ReportStatus) -> None:
        if effect.name == "ServerInitialized":
            self._ready_servers += 1
        elif effect.name in ("ServerClosed", "ServerDisconnected"):
            self._ready_servers = max(0, self._ready_servers - 1)
            self._known.pop(effect.subject, None)
        if self.status_task is None:
            return
        info: Any = None
        if effect.name.startswith("Server"):
            info = self._locations[effect.subject]
        elif effect.name.startswith("Node"):
            node = self._infos[effect.subject]
            info = NodeAvailInfo(
                Location(node.addr, node.port),
                memory=node.memory,
                disk=node.disk,
                name=node.name,
                cpus=node.cpus,
                platform=node.platform,
            )
        self._tell(getattr(Statuses, effect.name), info, effect.reason)

    def _want(self, effect: d.Want) -> None:
        self._to_scheduler(m.WantNode(self._id, effect.node, effect.cpus))

    def _setup_node(self, effect: d.SetupNode) -> None:
        message = m.SetupNode(self._id, effect.cpus, self.restart_servers)
        self._side.box.send(effect.node, "node", message, PICKLE, [self._encoded_bundle])

    def _close_node(self, effect: d.CloseNode) -> None:
        self._side.box.send(effect.node, "node", m.CloseNode(self._id, effect.terminate))

    def _open_server(self, effect: d.OpenServer) -> None:
        self._known[effect.server] = set(self._bundle_digests)
        location = self._locations[effect.server]
        self._network.hub.peer_at(location, effect.server)
        form = PICKLE
        buffers: list[Buffer] = []
        definitions: list[Definition] = []
        if self._server_setup is not None:
            form, buffers, definitions = self._shipper.pack((self._server_setup, (), {}))
            self._known[effect.server].update(definition.digest for definition in definitions)
        message = m.OpenServer(self._id, self._server_setup is not None, definitions)
        self._side.box.send(effect.server, "server", message, form, buffers)

    def _leave(self, effect: d.LeaveScheduler) -> None:
        self._to_scheduler(m.ClientLeaves(self._id))
        self._forget()
        self._network.io.call(self._timer.cancel)
        closing, self._closing = self._closing, []
        for completion in closing:
            completion.set_result(None)

    _EXECUTE: dict[type, Callable[..., None]] = {
        d.Run: _run,
        d.Recall: _recall,
        d.ReportStarted: _report_started,
        d.ReportRefused: _report_refused,
        d.ReportAbandoned: _report_abandoned,
        d.ReportStatus: _report_status,
        d.Want: _want,
        d.SetupNode: _setup_node,
        d.CloseNode: _close_node,
        d.OpenServer: _open_server,
        d.LeaveScheduler: _leave,
    }


__all__ = ["Client", "ParkcosError", "d"]
