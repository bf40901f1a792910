"""From a call to the record of a task: what is checked, what is packed, where it is to run."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

from parkcos.client import dispatch_events as d
from parkcos.client.choosing import Choosing
from parkcos.client.handle import TaskHandle
from parkcos.client.limits import TaskLimits
from parkcos.client.packed import PackedCall, python_here
from parkcos.client.room import kept_busy_by
from parkcos.client.sharing import LARGE_BYTES
from parkcos.client.shell import RUNNING, ClientShell
from parkcos.client.spaces import Space
from parkcos.client.submission import Submission, digest_of, kind_of, name_of
from parkcos.client.whereabouts import Whereabouts
from parkcos.cluster.definitions import SHARED
from parkcos.cluster.shared import Shared
from parkcos.errors import ScheduleError, UsageError
from parkcos.kernel import Completion, Task
from parkcos.kernel import target as targets
from parkcos.net.tasks import outcomes

UNAWAITED = "nobody waits for it to start"

_CALLS = {
    "rtask": "client.rtask({}, ...)",
    "rtask_at": "client.rtask_at(where, {}, ...)",
    "io_rtask": "client.io_rtask({}, ...)",
    "io_rtask_at": "client.io_rtask_at(where, {}, ...)",
}
_PLAIN = "client.map({}, inputs), which calls plain functions, too"
"""For the message about what cannot be a task."""


class Submitting:
    """One for each client.  seed: its words, if the client has one."""

    def __init__(
        self, shell: ClientShell, whereabouts: Whereabouts, choosing: Choosing, seed: list[int] | None
    ) -> None:
        self._shell = shell
        self._whereabouts = whereabouts
        self._choosing = choosing
        self._seed = seed
        self._seeds = itertools.count(1)
        self._numbers = itertools.count(1).__next__
        self._lock = threading.RLock()
        """Held while users' objects are packed, which may run their code: never together with the client's."""

    def __repr__(self) -> str:
        return repr(self._shell)

    @property
    def is_seeded(self) -> bool:
        """Whether the tasks' random numbers follow from a seed."""
        return self._seed is not None

    # -- calls

    def submit(
        self, where: Any, io: bool, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], limits: TaskLimits
    ) -> TaskHandle:
        """What `Client.submit` does once its arguments are known to be good.  Any thread."""
        shell = self._shell
        if isinstance(fn, PackedCall):
            record = self._unopened(fn, args, kwargs, io, limits)
        elif not callable(fn):
            raise UsageError(f"submit() wants a function, not {fn!r}\n  write: client.submit(function, argument)")
        else:
            record = self.pack(fn, args, kwargs, io, limits.space_number)
            record.plain = not targets.is_task(shell.kernel.kinds, fn)
        if callable(where) and (limits.own_process or limits.exclusive):
            what = "own_process=True" if limits.own_process else "space=one with processes of its own"
            raise UsageError(f"submit(where=a function, {what}): name the node\n  write: where='HOST'")
        limits.apply_to(record)
        handle = record.handle = TaskHandle(shell, record)

        def failed(error: BaseException) -> None:
            shell.kernel.post(handle._ended, outcomes.abandoned(error))

        def placed(server: int, node: int) -> None:
            enter(shell, record, server, node, limits.space)

        if where is None:
            placed(0, 0)
        elif callable(where):
            record.choice = self._choosing.number_of(where)
            try:
                placed(0, 0)
            finally:
                self._choosing.entered(record.choice)
        else:
            self._whereabouts.when_placed(where, failed, lambda: not record.cancelled, placed)
        return handle

    def start(
        self,
        what: str,
        where: Any,
        io: bool,
        fn: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        limits: TaskLimits | None = None,
    ) -> Completion[Task]:
        """What `Client.rtask` and its kin, by the name `what`, return: the task, when it has begun."""
        self._shell.must_run()
        targets.check(self._shell.kernel.kinds, fn, _CALLS[what], _PLAIN)
        if where is None and what.endswith("_at"):
            raise UsageError(f"{what}(None, ...): give a server's Location, or a node's address or name")
        return self._start(what, where, io, fn, args, kwargs, limits)

    def start_chunk(
        self, fn: Any, args: tuple[Any, ...], limits: TaskLimits | None, prepare: Callable[[Submission], None]
    ) -> Completion[Task]:
        """For `map`: as ``client.rtask(fn, *args)``.  prepare: what else the record is to say."""
        shell = self._shell
        if shell.machine.stage.closing:
            raise ScheduleError(f"{shell!r} is being closed: its map takes no more")
        shell.must_run()
        return self._start("map", None, False, fn, args, {}, limits, prepare)

    def _start(
        self,
        what: str,
        where: Any,
        io: bool,
        fn: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        limits: TaskLimits | None,
        prepare: Callable[[Submission], None] | None = None,
    ) -> Completion[Task]:
        shell = self._shell
        record: Submission | None = None

        def begin(completion: Completion[Task]) -> None:
            def placed(server: int, node: int) -> None:
                nonlocal record
                record = self.pack(fn, args, kwargs, io, limits.space_number if limits is not None else 0)
                record.completion = completion
                if limits is not None:
                    limits.apply_to(record)
                if prepare is not None:
                    prepare(record)
                enter(shell, record, server, node, limits.space if limits is not None else None)

            if where is None:
                placed(0, 0)
            else:
                self._whereabouts.when_placed(where, completion.set_exception, lambda: not completion.done, placed)

        def give_up() -> None:
            if record is not None:
                shell.handle(d.CancelAsked(record.number, UNAWAITED))

        return Completion(shell.kernel, what, begin, on_cancel=give_up)

    # -- what `map` asks beside

    def must_run(self) -> None:
        """Raises: ScheduleError if the client runs no tasks."""
        self._shell.must_run()

    def width(self, kind: str, least: int) -> int:
        """How many tasks of this kind keep all servers busy, at least so many for each."""
        return max(least, kept_busy_by(self._shell.machine, kind)) * max(1, len(self._shell.ready))

    @property
    def wants_servers(self) -> set[Callable[[], object]]:
        """Called in the kernel thread when a client has a server more."""
        return self._shell.side.wants_servers

    # -- packing

    def count_from(self, first: int) -> None:
        """The numbers of tasks are above this one."""
        self._numbers = itertools.count(first + 1).__next__

    def share(self, obj: Any) -> Shared:
        """As `Client.share`."""
        self._shell.must_run()
        with self._lock:
            return self._shell.sharing.share(self._shell.shipper, obj)

    def forget_space(self, number: int) -> None:
        """Nothing more will be packed for it."""
        with self._lock:
            if self._shell.state is RUNNING:
                self._shell.shipper.drop(number)
                self._shell.sharing.drop_spaces([number])

    def pack(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], io: bool, space: int = 0) -> Submission:
        """A call as bytes, with a number of its own.  Any thread.  Raises: ShippingError, UsageError."""
        shell = self._shell
        with self._lock:
            form, buffers, definitions = shell.shipper.of(space).pack_call(fn, args, kwargs)
            shared: tuple[Shared, ...] = ()
            large = False
            for definition in definitions:
                if definition.kind == SHARED and not shared:
                    shared = shell.sharing.needed(definitions)
                elif len(definition.blob) >= LARGE_BYTES and not large:
                    large = shell.sharing.file_large(definitions, shell.bundle_digests, space)
        record = Submission(
            number=self._numbers(),
            io=io,
            kind=kind_of(fn),
            name=name_of(fn),
            space=space,
            args=args,
            kwargs=kwargs,
            form=form,
            buffers=buffers,
            definitions=definitions,
            shared=shared,
            large=large,
        )
        if self._seed is not None:
            record.seed = [next(self._seeds), *self._seed]
        if shell.orphan_s:
            record.digest = digest_of(form, buffers)
        return record

    def _unopened(
        self, call: PackedCall, args: tuple[Any, ...], kwargs: dict[str, Any], io: bool, limits: TaskLimits
    ) -> Submission:
        """The record of a call that another program has packed."""
        if args or kwargs:
            raise UsageError("submit(PackedCall, ...): its arguments are packed already\n  write: client.submit(call)")
        if limits.retry_on:
            raise UsageError("submit(PackedCall, retry_on=...): what it raises is not opened here, and so not known")
        if call.python != python_here():
            raise UsageError(f"{call.name} was packed by Python {call.python}, and the servers have {python_here()}")
        definitions = call.opened_definitions()
        with self._lock:
            large = self._shell.sharing.file_large(definitions, self._shell.bundle_digests, limits.space_number)
        return Submission(
            number=self._numbers(),
            io=io,
            kind=call.kind,
            name=call.name,
            args=(),
            kwargs={},
            plain=call.plain,
            space=limits.space_number,
            opaque=True,
            form=call.form,
            buffers=[call.payload],
            definitions=definitions,
            large=large,
            seed=[] if self._seed is None else [next(self._seeds), *self._seed],
            digest=digest_of(call.form, [call.payload]) if self._shell.orphan_s else "",
        )


def enter(shell: ClientShell, record: Submission, server: int, node: int, space: Space | None = None) -> None:
    """Hand a task to the machine.  server, node: where it must run; 0: anywhere.  Raises: UsageError."""
    record.want_server, record.want_node = server, node
    with shell.lock:
        if record.cancelled:  # while it was found out where it must run, and its handle has ended
            return
        if space is not None and space.closed:
            raise UsageError(f"{record.name} is not run: its space {space.name!r} is closed")
        shell.submissions[record.number] = record
        shell.handle(d.Submitted(record))
