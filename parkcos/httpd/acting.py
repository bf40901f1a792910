"""What the dashboard does to a client's nodes, servers and tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from parkcos.client.client import Client
from parkcos.errors import ParkcosError, ScheduleError


class Refused(ParkcosError):
    """An action that cannot be done, and why; status: of the HTTP answer."""

    def __init__(self, text: str, status: int = 409) -> None:
        super().__init__(text)
        self.status = status


class ClientActions:
    """Every call in any thread.  Raises: Refused.

    task_of: the number of the client's task that the dashboard knows by a number of its own.
    """

    def __init__(self, client: Client, task_of: Callable[[int], int]) -> None:
        self._client = client
        self._task_of = task_of

    def node(self, number: int, name: str, what: str, terminate: bool) -> None:
        """`what`: suspend, resume, close or restart."""
        self._control(number, what, terminate, f"the node {name} is not in use any more")

    def server(self, number: int, name: str, what: str, terminate: bool) -> None:
        """As `node`."""
        self._control(
            number, what, terminate, f"the server {name} has ended; a node's next server has another name here"
        )

    def _control(self, number: int, what: str, terminate: bool, gone: str) -> None:
        try:
            known = self._client.control(number, what, terminate)
        except ScheduleError as error:
            raise Refused(str(error)) from None
        if not known:
            raise Refused(f"{what}: {gone}")

    def terminate(self, tasks: Iterable[int]) -> list[int]:
        """End these tasks, wherever they are, if need be with their server; those that wait for one are dropped.

        Returns: those that have ended.
        """
        client = self._client
        if (standing := client.standing()).state != "running":
            raise Refused(f"terminate tasks: the client {client.name} is {standing.state}, and runs nothing")
        wanted: dict[int, list[int]] = {}
        for shown in tasks:
            wanted.setdefault(self._task_of(shown), []).append(shown)
        missed = client.cancel(wanted, "it was terminated from the dashboard")
        return sorted(shown for number in missed for shown in wanted[number])
