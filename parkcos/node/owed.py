"""What a server owes a client that may return: what has come of its tasks, until the client says that it is safe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from parkcos.cluster import server_messages as sm
from parkcos.cluster.message import Message
from parkcos.net.payload import Buffer

Send = Callable[[Message, int, list[Buffer]], object]


class Owed:
    """The last words of tasks, as they were sent, in their order.  With the server's lock."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[sm.ResumedTask, Message, int, bytes]] = {}

    def keep(self, asked: sm.RunTask, message: Message, form: int, buffers: Iterable[Buffer]) -> None:
        """A task has ended.  buffers: are copied, for they may be objects of the next task's."""
        self._kept[asked.task] = described(asked), message, form, b"".join(buffers)

    def release(self, tasks: Iterable[int]) -> None:
        """These are safe."""
        for number in tasks:
            self._kept.pop(number, None)

    def described(self) -> Iterator[sm.ResumedTask]:
        """The tasks whose ends are kept."""
        return (task for task, *_ in self._kept.values())

    def tell(self, send: Send) -> None:
        """Send all again."""
        for _, message, form, payload in self._kept.values():
            send(message, form, [payload])


def described(asked: sm.RunTask) -> sm.ResumedTask:
    """A task, for the next run of its client's program."""
    return sm.ResumedTask(asked.task, asked.io, asked.name[: sm.RESUMED_NAME_MAX])


def resumptions(client: int, opened: bool, tasks: list[sm.ResumedTask]) -> Iterator[sm.ServerResumed]:
    """What a server says of its tasks, in messages of a bounded size; one at least."""
    most = sm.RESUMED_MAX
    for start in range(0, max(1, len(tasks)), most):
        yield sm.ServerResumed(client, opened, tasks[start : start + most], more=start + most < len(tasks))
