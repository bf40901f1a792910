"""Who watches a client: the dashboard, which stands above it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from parkcos.client import dispatch_events as d
from parkcos.kernel import Outcome
from parkcos.net.payload import Buffer

if TYPE_CHECKING:
    from parkcos.client.submission import Submission


class Observer(Protocol):
    """One for a client at most: ``client._observer``.  It is told in any thread, must be quick, and raise nothing."""

    def received(self, process: int, message: Any, payload: Buffer) -> None:
        """A message has come, and will be dealt with."""

    def handled(self, event: d.Event, effects: Sequence[d.Effect]) -> None:
        """The machine has been told a fact, and its orders will be executed.  Under the client's lock."""

    def ended(self, submission: Submission, outcome: Outcome) -> None:
        """A task that had started has ended, for good."""
