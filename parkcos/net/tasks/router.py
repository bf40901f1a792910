"""What comes in for tasks and channels, in the kernel thread: the only place where users' payloads are opened."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from parkcos.errors import ShippingError
from parkcos.kernel import Kernel, Task, failures, spaces
from parkcos.net import wire
from parkcos.net.bounds import clipped
from parkcos.net.payload import PICKLE, Buffer, dumps, loads
from parkcos.net.session.backlog import LARGE_BYTES, LOOK_EVERY, Backlog
from parkcos.net.session.peer import Peer
from parkcos.net.tasks import outcomes
from parkcos.net.tasks.exposed import Exposed
from parkcos.net.tasks.kept_outcomes import KeptOutcomes

if TYPE_CHECKING:
    from parkcos.net.tasks.requests import Requests

logger = logging.getLogger("parkcos")


class Router:
    """Hands messages to the tasks and channels of one kernel, and answers to those who asked.

    Args:
        kernel: whose tasks they are.
        exposed: those among them that others may reach.
        requests: what this process has asked others.
        name: of this process.
        backlog: of its tasks.
    """

    def __init__(self, kernel: Kernel, exposed: Exposed, requests: Requests, name: str, backlog: Backlog) -> None:
        self.kernel = kernel
        self.exposed = exposed
        self.requests = requests
        self.name = name
        self.kept = KeptOutcomes()
        self.backlog = backlog
        self._withdrawn: set[tuple[Peer, int]] = set()
        self._delivering: dict[tuple[Peer, int], Task] = {}
        """Deliveries to channels that wait for subscribers."""

    def withdraw(self, peer: Peer, request: int) -> None:
        """Any thread: the delivery is not wanted any more; it may still wait to be handled, as may this message."""
        self._withdrawn.add((peer, request))

    def handle(self, peer: Peer, messages: list[wire.Message], size: int = 0) -> None:
        """Kernel thread: take messages, of `size` bytes, in the order in which they were sent."""
        try:
            self._handle(peer, messages)
        finally:
            peer.handled_bytes += size

    def _handle(self, peer: Peer, messages: list[wire.Message]) -> None:
        live = self.exposed.live
        for message in messages:
            if type(message) is wire.ToTask:
                task = live.get(message.dst)
                if task is None:
                    continue  # it ended while the message was on its way
                try:
                    content = loads(message.form, message.payload) if not spaces.used else _opened(task, message)
                except BaseException as error:
                    self._unopened(peer, f"a message to {task!r}", error)
                    continue
                task.send(content)
                unread = task.unread
                if unread and (not unread % LOOK_EVERY or len(message.payload) >= LARGE_BYTES):
                    self.backlog.grows(peer, task, len(message.payload))
            else:
                handler = self._HANDLERS.get(type(message))
                if handler is None:
                    logger.warning("%r sent a %s, which is not for tasks", peer, type(message).__name__)
                    continue
                try:
                    handler(self, peer, message)
                except BaseException as error:
                    self._not_handled(peer, message, error)

    def _not_handled(self, peer: Peer, message: wire.Message, error: BaseException) -> None:
        failures.log_failure(logger, "a %s of %r could not be handled", type(message).__name__, peer)
        request = getattr(message, "request", 0)
        if request and not isinstance(message, wire.Answer):  # somebody waits
            self._answer(peer, request, -1, error=failures.line_of(error))

    def _unopened(self, peer: Peer, what: str, error: BaseException) -> str:
        hint = ""
        if failures.is_a(error, (AttributeError, ImportError)):
            hint = "; if it is of a class of the client's program, list that class in the client's components"
        text = f"{what} from {peer!r} cannot be opened here: {failures.line_of(error)}{hint}"
        logger.error("%s", text)
        return text

    def _answer(self, peer: Peer, request: int, value: int, obj: Any = None, error: str = "") -> None:
        answer = wire.Answer(wire.EMPTY, PICKLE, False, request, value, clipped(error) if error else "")
        if obj is None:
            peer.post(answer)
            return
        answer.form, buffers = dumps(obj)
        peer.post_payload(answer, buffers)

    def _deliver_to_task(self, peer: Peer, message: wire.DeliverToTask) -> None:
        task = self.exposed.live.get(message.dst)
        if task is None or (peer, message.request) in self._withdrawn:
            self._answer(peer, message.request, -1)
            return
        try:
            content = _opened(task, message)
        except BaseException as error:
            self._answer(peer, message.request, -1, error=self._unopened(peer, f"a message to {task!r}", error))
            return
        self._answer(peer, message.request, 1 if task.send(content) == 0 else -1)

    def _to_channel(self, peer: Peer, message: wire.ToChannel) -> None:
        channel = self.kernel.names.channels.get(message.name)
        if channel is not None:
            with spaces.within(channel._space):
                content = loads(message.form, message.payload)
            channel.send(content)

    def _deliver_to_channel(self, peer: Peer, message: wire.DeliverToChannel) -> None:
        channel = self.kernel.names.channels.get(message.name)
        key = peer, message.request
        if channel is None or key in self._withdrawn:
            self._answer(peer, message.request, -1)
            return
        with spaces.within(channel._space):
            content = loads(message.form, message.payload)

        def deliver() -> Any:
            try:
                count = yield channel.deliver(content, message.timeout_s, message.n)
            except ShippingError as error:
                self._answer(peer, message.request, -1, error=str(error))
            else:
                self._answer(peer, message.request, count)

        self._delivering[key] = task = self._spawn(deliver)
        task.add_end_callback(lambda _: self._delivering.pop(key, None))

    def _withdraw(self, peer: Peer, message: wire.Withdraw) -> None:
        key = peer, message.request
        self._withdrawn.discard(key)  # what it is about came before
        if key in self._delivering:
            self._delivering[key].terminate()
            self._answer(peer, message.request, 0)  # so that it is forgotten there, too

    def _slow(self, peer: Peer, message: wire.Slow) -> None:
        if message.on:
            peer.slow.setdefault(message.dst, [])
            return
        for tell in peer.slow.pop(message.dst, ()):
            tell(True)

    def _spawn(self, fn: Callable[..., Any]) -> Task:
        def daemon(task: Any = None) -> Any:
            task.set_daemon()
            yield fn()

        return Task(daemon)

    def _answered(self, peer: Peer, message: wire.Answer) -> None:
        self.requests.answered(peer, message)

    def _locate(self, peer: Peer, message: wire.Locate) -> None:
        found = self.kernel.names.get(message.kind, message.name)
        self._answer(peer, message.request, 1 if found is not None else 0, found)

    def _observe(self, peer: Peer, message: wire.Observe) -> None:
        task = self.exposed.live.get(message.dst)
        if task is None:
            ended = self.kept.get(message.dst)
            if ended is None or ended.payload is None:
                why = "and its result is not known any more" if ended is None else "with a result too large to keep"
                self._answer(peer, message.request, -1, error=why)
                return
            _tell_end(peer, message.request, ended.kind, ended.form, [ended.payload])
            return

        def tell(_: Task) -> None:
            outcome = task.outcome
            assert outcome is not None
            _tell_end(peer, message.request, *outcomes.pack(outcome))

        task.add_end_callback(tell)

    def _end(self, peer: Peer, message: wire.End) -> None:
        task = self.exposed.live.get(message.dst)
        if task is not None:
            task.terminate()

    def _subscribe(self, peer: Peer, message: wire.Subscribe) -> None:
        channel = self.kernel.names.channels.get(message.name)
        if channel is None:
            self._answer(peer, message.request, -1)
            return
        subscriber = loads(message.form, message.payload)

        def subscribe() -> Any:
            done = yield (channel.subscribe(subscriber) if message.add else channel.unsubscribe(subscriber))
            self._answer(peer, message.request, done)

        self._spawn(subscribe)

    def _run_rps(self, peer: Peer, message: wire.RunRps) -> None:
        rps = self.kernel.names.get("rps", message.name)
        if rps is None:
            self._answer(peer, message.request, wire.RPS_UNKNOWN)
            return
        try:
            with spaces.within(rps.space):
                args, kwargs = loads(message.form, message.payload)
        except BaseException as error:
            text = self._unopened(peer, f"the arguments for {rps!r}", error)
            self._answer(peer, message.request, wire.RPS_FAILED, error=text)
            return
        try:
            task = rps.make_task(args, kwargs)
        except TypeError as error:
            self._answer(peer, message.request, wire.RPS_MISFIT, error=failures.message_of(error))
            return
        self._answer(peer, message.request, wire.RPS_RUNS, task)

        def tell(task: Task) -> None:
            kept = self.kept.get(task._number)  # its reference has left, so it was packed already
            if kept is None or kept.payload is None:
                assert task.outcome is not None
                _tell_end(peer, message.watch, *outcomes.pack(task.outcome))
            else:
                _tell_end(peer, message.watch, kept.kind, kept.form, [kept.payload])

        task.add_end_callback(tell)

    def _who_is(self, peer: Peer, message: wire.WhoIs) -> None:
        self._answer(peer, message.request, int(message.name == self.name))

    _HANDLERS: ClassVar[dict[type, Callable[..., None]]] = {
        wire.DeliverToTask: _deliver_to_task,
        wire.ToChannel: _to_channel,
        wire.DeliverToChannel: _deliver_to_channel,
        wire.Answer: _answered,
        wire.Locate: _locate,
        wire.Observe: _observe,
        wire.End: _end,
        wire.Subscribe: _subscribe,
        wire.WhoIs: _who_is,
        wire.Withdraw: _withdraw,
        wire.Slow: _slow,
        wire.RunRps: _run_rps,
    }


def _tell_end(peer: Peer, request: int, kind: str, form: int, buffers: list[Buffer]) -> None:
    """Answer how a task has ended.  With a result that is too large for who asks, it has failed."""
    try:
        peer.post_payload(wire.Answer(wire.EMPTY, form, False, request, 1, kind), buffers)
    except ShippingError as error:
        kind, form, buffers = outcomes.pack_unsendable(error)
        peer.post_payload(wire.Answer(wire.EMPTY, form, False, request, 1, kind), buffers)


def _opened(task: Task, message: wire.WithPayload) -> Any:
    """What a message is to this task."""
    if not spaces.used:
        return loads(message.form, message.payload)
    with spaces.within(spaces.of_task(task)):
        return loads(message.form, message.payload)
