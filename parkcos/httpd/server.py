"""HTTPServer: the dashboard of a client's program.  Source: chapter 6.8 to 6.10."""

from __future__ import annotations

import os
import secrets
import time
import weakref
from collections.abc import Generator, Sequence
from threading import Lock, get_ident
from typing import Any

from parkcos.client.client import Client
from parkcos.errors import ConfigError, UsageError
from parkcos.httpd.acting import ClientActions
from parkcos.httpd.board import Board
from parkcos.httpd.model import Model
from parkcos.httpd.site import Site, checked_poll
from parkcos.httpd.watch import ClientWatch
from parkcos.kernel import Task
from parkcos.net.running import io
from parkcos.net.runtime import VERSION, Parkcos
from parkcos.web.site import SiteOptions

PASSED_ON_MAX = 1_000
"""So many messages that cannot be referred to weakly (texts, numbers, tuples) are remembered."""
_CLOSES = -500.0
"""With the program, before its network does."""


class HTTPServer:
    """A dashboard for browsers, of one client: its nodes, servers and tasks, and what can be done to them.

    It may be made before the client is scheduled or after that, in a task or in a plain thread; do not yield it.  Who
    looks needs a token, which is in the address that is written to the log.

    Args:
        client: a Client.
        host: address or name of this machine to listen at; "": all its addresses; None: for this machine alone. Others
            need a `certfile`, or `insecure`.
        port: 0 for any free one; None: 8181, or the next that is free, which is logged.
        poll_sec: seconds between updates of the pages; can be changed there.
        DocumentRoot: folder with pages of your own; its files take the place of the package's with the same names.
        keyfile: PEM file with the private key; None: it is in `certfile`.
        certfile: PEM file with a certificate, for HTTPS.
        show_task_args: show the arguments of tasks, shortened; can be changed in the page.
        token: of who may look and act, at least 16 characters; None: the variable PARKCOS_HTTPD_TOKEN, or a new one.
        view_token: of who may look only, likewise; None: the variable PARKCOS_HTTPD_VIEW_TOKEN, or there is none.
        insecure: speak plain HTTP to other machines, if there is no `certfile`: who listens in the network can get the
            tokens.
        hosts: names by which browsers reach this machine or a web server before it, beside its host name and addresses.
        tasks_max: so many tasks that have ended are shown.

    Attributes:
        status_task: a Task that takes the place of the client's `status_task`, and passes every message on to that.
        url: the address, with the token.
        view_url: the address with `view_token`, for who may look only; None if there is none.

    Raises: ConfigError, also if a port that was given is taken; UsageError if the client has a dashboard already.
    Source: chapter 6.8.
    """

    status_task: Task
    url: str
    view_url: str | None

    def __init__(
        self,
        client: Client,
        host: str | None = None,
        port: int | None = None,
        poll_sec: float = 10,
        DocumentRoot: str | os.PathLike[str] | None = None,
        keyfile: str | os.PathLike[str] | None = None,
        certfile: str | os.PathLike[str] | None = None,
        show_task_args: bool = True,
        *,
        token: str | None = None,
        view_token: str | None = None,
        insecure: bool = False,
        hosts: Sequence[str] = (),
        tasks_max: int = 10_000,
    ) -> None:
        if not isinstance(client, Client):
            raise UsageError(f"HTTPServer() wants a Client, not {client!r}\n  write: HTTPServer(client)")
        if any(isinstance(each, ClientWatch) for each in client.observers):
            raise UsageError(f"{client!r} has a dashboard already: shut that down first")
        if isinstance(tasks_max, bool) or not isinstance(tasks_max, int) or tasks_max < 1:
            raise ConfigError(f"tasks_max={tasks_max!r}: give a number, at least 1")
        poll_s = checked_poll(poll_sec)
        runtime = Parkcos.instance()
        runtime.start()
        self._io = runtime.io
        self._kernel = runtime.kernel
        self._lock = Lock()
        self._closed = False
        self._client = client
        board = Board(new_model("client", client.name, poll_s, bool(show_task_args), tasks_max))
        self._board = board
        self._watch = ClientWatch(client, board)
        options = SiteOptions(host, port, DocumentRoot, keyfile, certfile, token, hosts, view_token, insecure)
        try:
            actions = ClientActions(client, self._watch.task_of)
            self._site = Site(self._io, board, options, actions, self._watch.show_args)
        except BaseException:
            self._watch.detach()
            raise
        self.url, self.view_url = self._site.url, self._site.view_url
        try:
            self._watch.attach()
        except BaseException:
            self._watch.detach()
            self._io.run(self._site.close(0.0)).result()
            raise
        self._chained = client.status_task
        self.status_task = self._kernel.spawn(self._pass_on)
        client.status_task = self.status_task
        self._kernel.atexit(_CLOSES, self._program_ends)

    def __repr__(self) -> str:
        return f"<HTTPServer of {self._client!r} at {self._site.address}{', shut down' if self._closed else ''}>"

    def shutdown(self, wait: bool = True) -> Task | None:
        """End it.  Do not yield it: in a plain thread this returns when it has ended.

        Args:
            wait: first, all browsers get the last changes; that takes at most `poll_sec` seconds.

        Returns: None; in a task, a Task that does it: ``yield http.shutdown().finish()`` waits for it, and so does the
        program's end.  Source: chapter 6.8.
        """
        with self._lock:
            if self._closed:
                return None
            self._closed = True
        self._kernel.drop_atexit(_CLOSES, self._program_ends)
        if get_ident() == self._kernel.ident:
            return self._kernel.spawn(self._shut_down, wait)
        try:
            self._io.run(self._site.close(self._wait_s(wait))).result()
        finally:
            self._leave()
        return None

    def _shut_down(self, wait: bool) -> Generator[Any, Any, None]:
        try:
            yield io(self._site.close(self._wait_s(wait)))
        finally:
            self._leave()

    def _wait_s(self, wait: bool) -> float:
        return self._board.model.poll_s if wait else 0.0

    def _program_ends(self) -> None:
        """Kernel thread, at the end of the program."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            self._io.run(self._site.close(0.0)).result()
        finally:
            self._leave()

    def _leave(self) -> None:
        self._watch.detach()
        if self._client.status_task is self.status_task:
            self._client.status_task = self._chained
        self.status_task.terminate()

    def _pass_on(self, task: Task | None = None) -> Generator[Any, Any, None]:
        """What it is sent, it passes on, once: the program's own status_task may send all messages to this one."""
        assert task is not None
        task.set_daemon()
        passed = _Passed()
        while True:
            message = yield task.receive()
            if self._chained is not None and passed.is_new(message):
                self._chained.send(message)
            del message  # it may have a large result


class _Passed:
    """Which messages were passed on: none that comes back is passed on again, none is kept for that if it can go."""

    def __init__(self) -> None:
        self._seen: dict[int, weakref.ref[Any]] = {}
        self._kept: dict[int, Any] = {}
        """So that no other gets its id."""

    def is_new(self, message: Any) -> bool:
        """Whether it comes for the first time."""
        number = id(message)
        if number in self._seen or number in self._kept:
            return False
        try:
            self._seen[number] = weakref.ref(message, lambda _: self._seen.pop(number, None))
        except TypeError:
            self._kept[number] = message
            if len(self._kept) > PASSED_ON_MAX:
                del self._kept[next(iter(self._kept))]
        return True


def new_model(kind: str, name: str, poll_s: float, show_args: bool, tasks_max: int) -> Model:
    """A model for a run of a program that begins now."""
    epoch = secrets.token_hex(8)
    return Model(kind, name, epoch, time.time(), VERSION, poll_s=poll_s, show_args=show_args, tasks_max=tasks_max)
