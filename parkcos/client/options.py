"""The client's calls that run tasks, with options for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from parkcos.client import mapping
from parkcos.client.limits import TaskLimits
from parkcos.client.stream import Results
from parkcos.kernel import Completion, Task
from parkcos.net.location import Location

if TYPE_CHECKING:
    from parkcos.client.submitting import Submitting


class Options:
    """What :meth:`Client.options` gives: the client's calls that run tasks, with these options."""

    _yield_advice = "{}.rtask(fn, ...)"

    def __init__(self, submitting: Submitting, limits: TaskLimits) -> None:
        self._submitting = submitting
        self._limits = limits

    def __repr__(self) -> str:
        return f"<options of {self._submitting!r}: {self._limits}>"

    def rtask(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Completion[Task]:
        """As `Client.rtask`.  Yield it."""
        return self._submitting.start("rtask", None, False, fn, args, kwargs, self._limits)

    def rtask_at(self, where: Location | str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Completion[Task]:
        """As `Client.rtask_at`.  Yield it."""
        return self._submitting.start("rtask_at", where, False, fn, args, kwargs, self._limits)

    def io_rtask(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Completion[Task]:
        """As `Client.io_rtask`.  Yield it."""
        return self._submitting.start("io_rtask", None, True, fn, args, kwargs, self._limits)

    def io_rtask_at(
        self, where: Location | str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Completion[Task]:
        """As `Client.io_rtask_at`.  Yield it."""
        return self._submitting.start("io_rtask_at", where, True, fn, args, kwargs, self._limits)

    def map(
        self, fn: Callable[..., Any], /, *iterables: Iterable[Any], chunksize: int = 1, ordered: bool = True
    ) -> Results:
        """As `Client.map`; the options are for each chunk."""
        return mapping.start(self._submitting, fn, iterables, chunksize, ordered, self._limits)
