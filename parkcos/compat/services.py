"""RPS as pycos has it: a call that cannot be made gives None, and the reason is in the log."""

from __future__ import annotations

import logging
from collections.abc import Generator
from typing import Any

import parkcos
from parkcos.errors import ParkcosError
from parkcos.kernel import operation
from parkcos.net.tasks.rps import LocatedRPS

logger = logging.getLogger("parkcos")


class _AnyRPS(type):
    """Every RPS is a `pycos.RPS`: one that comes in a message is made where this layer is not known."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return type.__instancecheck__(parkcos.RPS if cls is RPS else cls, instance)


class RPS(parkcos.RPS, metaclass=_AnyRPS):
    """A function that other programs run in this one; see :class:`parkcos.RPS`."""

    @staticmethod
    @operation
    def locate(name: str, location: Any = None, timeout: float | None = None) -> Generator[Any, Any, Any]:
        """Yield it.  The RPS registered as `name`, in this process or at `location`, or at any peer; None."""
        found = yield parkcos.RPS.locate(name, location, timeout)
        if type(found) is LocatedRPS:
            found.__class__ = _Located
        return found


class _Located(LocatedRPS):
    @operation
    def __call__(self, *args: Any, **kwargs: Any) -> Generator[Any, Any, parkcos.Task | None]:  # type: ignore[override]
        """Yield it.  Run the function with these arguments: its Task; None if it cannot be, with the reason logged."""
        try:
            task: parkcos.Task = yield super().__call__(*args, **kwargs)
        except (ParkcosError, TypeError) as error:
            logger.warning("%r: %s", self, error)
            return None
        return task
