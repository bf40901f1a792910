"""What the dashboard does to a client's nodes, servers and tasks."""

from __future__ import annotations

from collections.abc import Iterable

from parkcos.client import dispatch_events as d
from parkcos.client.client import Client
from parkcos.client.records import CLOSING, DISABLED, ENDING, OPENING, WANTED
from parkcos.client.shell import RUNNING
from parkcos.errors import ParkcosError


class Refused(ParkcosError):
    """An action that cannot be done, and why."""


class ClientActions:
    """Every call in any thread.  Raises: Refused."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def node(self, number: int, name: str, what: str, terminate: bool) -> None:
        """`what`: suspend, resume, close or restart."""
        client = self._client
        self._must_run(what, f"the node {name}")
        with client._lock:
            node = client._machine.nodes.get(number)
            if node is None:
                raise Refused(f"{what}: the node {name} is not in use any more")
            if node.state == CLOSING:
                raise Refused(f"{what}: the node {name} is being closed already")
            if node.state in (WANTED, DISABLED) and what == "restart":
                raise Refused(f"{what}: the node {name} has not been set up yet")
            if what in ("suspend", "resume"):
                client._handle(d.SuspendAsked(number, what == "suspend"))
            else:
                client._handle(d.CloseNodeAsked(number, terminate, what == "restart"))

    def server(self, number: int, name: str, what: str, terminate: bool) -> None:
        """As `node`."""
        client = self._client
        self._must_run(what, f"the server {name}")
        with client._lock:
            server = client._machine.servers.get(number)
            if server is None or not server.node:
                raise Refused(f"{what}: the server {name} has ended; a node's next server has another name here")
            if server.state == ENDING and (what in ("suspend", "resume") or not terminate):
                raise Refused(f"{what}: the server {name} is being closed already; with terminate it ends at once")
            if server.state in (DISABLED, OPENING) and what == "resume":
                raise Refused(f"{what}: the server {name} is still being set up")
            if what in ("suspend", "resume"):
                client._handle(d.SuspendAsked(number, what == "suspend"))
            else:
                client._handle(d.CloseServerAsked(number, terminate, what == "restart"))

    def terminate(self, tasks: Iterable[int]) -> list[int]:
        """End these tasks, wherever they are, if need be with their server; those that wait for one are dropped.

        Returns: those that have ended.
        """
        self._must_run("terminate", "tasks")
        client = self._client
        wanted = set(tasks)
        with client._lock:
            missed = wanted.copy()
            for number, submission in list(client._submissions.items()):
                asked = wanted.intersection(submission.numbers())
                if asked and number in client._machine.tasks:
                    missed -= asked
                    client._handle(d.CancelAsked(number, "it was terminated from the dashboard"))
        return sorted(missed)

    def _must_run(self, what: str, name: str) -> None:
        if self._client._state is not RUNNING:
            raise Refused(f"{what} {name}: the client {self._client.name} is {self._client._state}, and runs nothing")
