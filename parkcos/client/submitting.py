"""From a call to the record of a task: what is packed, what is checked, where it is to run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from parkcos.client import dispatch_events as d
from parkcos.client.handle import TaskHandle
from parkcos.client.limits import TaskLimits
from parkcos.client.sharing import is_large
from parkcos.client.submission import Submission, kind_of, name_of
from parkcos.errors import NotATask, UsageError
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
    if not callable(fn):
        raise UsageError(f"submit() wants a function, not {fn!r}\n  write: client.submit(function, argument)")
    record = pack(client, fn, args, kwargs, io)
    record.plain = not is_task(client._kernel.kinds, fn)
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
        shared = client._sharing.needed(definitions)
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
        large=any(map(is_large, definitions)),
    )
    if client._seed is not None:
        record.seed = [next(client._seeds), *client._seed]
    return record


def enter(client: Client, record: Submission, server: int, node: int) -> None:
    """Hand a task to the machine.  server, node: where it must run; 0: anywhere."""
    record.want_server, record.want_node = server, node
    client._submissions[record.number] = record
    client._handle(d.Submitted(record))


def is_task(kinds: Any, fn: Any) -> bool:
    """Whether `fn` is a task as it is, a generator function or an ``async def``."""
    try:
        targets.check(kinds, fn)
    except NotATask:
        return False
    return True
