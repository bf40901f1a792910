"""From a call to the record of a task: what is packed, what is checked, where it is to run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from parkcos.client import dispatch_events as d
from parkcos.client.handle import TaskHandle
from parkcos.client.limits import TaskLimits
from parkcos.client.packed import PackedCall, python_here
from parkcos.client.sharing import LARGE_BYTES
from parkcos.client.submission import Submission, kind_of, name_of
from parkcos.cluster.definitions import SHARED
from parkcos.cluster.shared import Shared
from parkcos.errors import UsageError
from parkcos.kernel import Completion, Task
from parkcos.kernel import target as targets
from parkcos.net.tasks import outcomes

if TYPE_CHECKING:
    from parkcos.client.client import Client

UNAWAITED = "nobody waits for it to start"


def submit(
    client: Client, where: Any, io: bool, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], limits: TaskLimits
) -> TaskHandle:
    """What `Client.submit` does once its arguments are known to be good.  Any thread."""
    if isinstance(fn, PackedCall):
        record = _unopened(client, fn, args, kwargs, io, limits)
    elif not callable(fn):
        raise UsageError(f"submit() wants a function, not {fn!r}\n  write: client.submit(function, argument)")
    else:
        record = pack(client, fn, args, kwargs, io)
        record.plain = not targets.is_task(client._kernel.kinds, fn)
    if callable(where) and limits.own_process:
        raise UsageError("submit(where=a function, own_process=True): name the node\n  write: where='HOST'")
    limits.apply_to(record)
    handle = record.handle = TaskHandle(client, record)

    def failed(error: BaseException) -> None:
        client._kernel.post(handle._ended, outcomes.abandoned(error))

    def placed(server: int, node: int) -> None:
        if record.cancelled:
            handle._ended(outcomes.abandoned(UsageError(record.cancelled)))
        else:
            enter(client, record, server, node)

    if where is None:
        placed(0, 0)
    elif callable(where):
        record.choice = client._choosing.number_of(where)
        try:
            placed(0, 0)
        finally:
            client._choosing.entered(record.choice)
    else:
        client._when_placed(where, failed, lambda: not record.cancelled, placed)
    return handle


def start(
    client: Client,
    what: str,
    where: Any,
    io: bool,
    fn: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    limits: TaskLimits | None = None,
    prepare: Callable[[Submission], None] | None = None,
) -> Completion[Task]:
    """What `Client.rtask` and its kin return: the task, when it has begun.  prepare: what else its record is to say."""
    record: Submission | None = None

    def begin(completion: Completion[Task]) -> None:
        def placed(server: int, node: int) -> None:
            nonlocal record
            record = pack(client, fn, args, kwargs, io)
            record.completion = completion
            if limits is not None:
                limits.apply_to(record)
            if prepare is not None:
                prepare(record)
            enter(client, record, server, node)

        if where is None:
            placed(0, 0)
        else:
            client._when_placed(where, completion.set_exception, lambda: not completion.done, placed)

    def give_up() -> None:
        if record is not None:
            client._handle(d.CancelAsked(record.number, UNAWAITED))

    return Completion(client._kernel, what, begin, on_cancel=give_up)


def pack(client: Client, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], io: bool) -> Submission:
    """A call as bytes, with a number of its own.  Any thread.  Raises: ShippingError, UsageError."""
    with client._ship_lock:
        form, buffers, definitions = client._shipper.pack_call(fn, args, kwargs)
        shared: tuple[Shared, ...] = ()
        large = False
        for definition in definitions:
            if definition.kind == SHARED and not shared:
                shared = client._sharing.needed(definitions)
            elif len(definition.blob) >= LARGE_BYTES and not large:
                large = client._sharing.file_large(definitions, client._bundle_digests)
    record = Submission(
        number=client._numbers(),
        io=io,
        kind=kind_of(fn),
        name=name_of(fn),
        args=args,
        kwargs=kwargs,
        form=form,
        buffers=buffers,
        definitions=definitions,
        shared=shared,
        large=large,
    )
    if client._seed is not None:
        record.seed = [next(client._seeds), *client._seed]
    return record


def _unopened(
    client: Client, call: PackedCall, args: tuple[Any, ...], kwargs: dict[str, Any], io: bool, limits: TaskLimits
) -> Submission:
    """The record of a call that another program has packed."""
    if args or kwargs:
        raise UsageError("submit(PackedCall, ...): its arguments are packed already\n  write: client.submit(call)")
    if limits.retry_on:
        raise UsageError("submit(PackedCall, retry_on=...): what it raises is not opened here, and so not known")
    if call.python != python_here():
        raise UsageError(f"{call.name} was packed by Python {call.python}, and the servers have {python_here()}")
    definitions = call.opened_definitions()
    with client._ship_lock:
        large = client._sharing.file_large(definitions, client._bundle_digests)
    return Submission(
        number=client._numbers(),
        io=io,
        kind=call.kind,
        name=call.name,
        args=(),
        kwargs={},
        plain=call.plain,
        opaque=True,
        form=call.form,
        buffers=[call.payload],
        definitions=definitions,
        large=large,
        seed=[] if client._seed is None else [next(client._seeds), *client._seed],
    )


def enter(client: Client, record: Submission, server: int, node: int) -> None:
    """Hand a task to the machine.  server, node: where it must run; 0: anywhere."""
    record.want_server, record.want_node = server, node
    with client._lock:
        client._submissions[record.number] = record
        client._handle(d.Submitted(record))
