"""What the tests of the dashboard share: a program's requests to it, and a viewer's."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

LIMIT_S = 20.0


class Answer:
    """status, headers, body of a response."""

    def __init__(self, status: int, headers: http.client.HTTPMessage, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def __repr__(self) -> str:
        return f"{self.status} {dict(self.headers)} {self.body[:300]!r}"

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Browser:
    """Requests to the dashboard at `url`, which has its token.

    bearer: the token goes with each request, as that of a program.
    """

    def __init__(self, url: str, *, bearer: bool = True, context: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None and parts.port is not None
        self.address, self.port, self.scheme = parts.hostname, parts.port, parts.scheme
        self.token = parse_qs(parts.query).get("token", [""])[0]
        self.url = url
        self.host = f"{self.address}:{self.port}"
        self.origin = f"{self.scheme}://{self.host}"
        self._bearer = bearer
        self._context = context

    def connect(self) -> http.client.HTTPConnection:
        if self.scheme == "https":
            return http.client.HTTPSConnection(self.address, self.port, timeout=LIMIT_S, context=self._context)
        return http.client.HTTPConnection(self.address, self.port, timeout=LIMIT_S)

    def send(self, method: str, path: str, headers: dict[str, str] | None = None, body: Any = None) -> Any:
        """An open connection, which was asked this."""
        connection = self.connect()
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        given = {"Host": self.host, **({"Authorization": f"Bearer {self.token}"} if self._bearer else {})}
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        if method != "GET" and method != "HEAD":
            given |= {"Content-Length": str(len(data)), "Content-Type": "application/json"}
        for name, value in (given | (headers or {})).items():
            connection.putheader(name, value)
        connection.endheaders(data or None)
        return connection

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, body: Any = None) -> Answer:
        connection = self.send(method, path, headers, body)
        try:
            response = connection.getresponse()
            if response.headers.get_content_type() == "text/event-stream":
                return Answer(response.status, response.headers, b"")
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        answer = self.ask("GET", path)
        assert answer.status == 200, answer
        return answer.json

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.ask("POST", path, body={} if body is None else body)
        assert answer.status == status, answer
        return answer.json

    def raw(self, data: bytes) -> bytes:
        """What comes back for these bytes, sent as they are."""
        with socket.create_connection((self.address, self.port), LIMIT_S) as sock:
            sock.sendall(data)
            received = b""
            while more := sock.recv(65536):
                received += more
        return received


class Viewer:
    """Follows the stream: what it has been told, and the state that follows from that."""

    def __init__(self, browser: Browser, last_event_id: str = "") -> None:
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        self._connection = browser.send("GET", "/api/stream", headers)
        self._response = self._connection.getresponse()
        assert self._response.status == 200
        self.last_event_id = last_event_id
        self.state: dict[str, Any] = {}
        self.names: list[str] = []

    def next(self) -> tuple[str, Any]:
        """The next event; the state is then as that says."""
        fields: dict[str, str] = {}
        while line := self._response.readline().decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            fields[name] = value
        if not fields:
            raise EOFError
        self.last_event_id = fields["id"]
        name, data = fields["event"], json.loads(fields["data"])
        self.names.append(name)
        if name == "state":
            self.state = data
        else:
            apply(self.state, data)
        return name, data

    def until(self, true: Callable[[dict[str, Any]], Any]) -> Any:
        """Take events until the state is such."""
        deadline = time.monotonic() + LIMIT_S
        if not self.state:
            self.next()
        while not (found := true(self.state)):
            assert time.monotonic() < deadline, self.state
            self.next()
        return found

    def shown(self) -> dict[str, Any]:
        """Without what is different at each time, and in no order."""
        lists = {name: sorted(self.state[name], key=lambda each: each["id"]) for name in ("nodes", "servers", "tasks")}
        return {**self.state, **lists, "time": 0}

    def close(self) -> None:
        self._response.close()
        self._connection.close()

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        while True:
            yield self.next()


def apply(state: dict[str, Any], changes: dict[str, Any]) -> None:
    """What a page does with `changes`."""
    for name in ("nodes", "servers", "tasks"):
        records = {record["id"]: record for record in state.get(name, [])}
        for gone in changes["gone"][name]:
            records.pop(gone, None)
        records |= {record["id"]: record for record in changes[name]}
        state[name] = list(records.values())
    for name in ("revision", "time", "state", "reason", "totals", "settings"):
        state[name] = changes[name]
    if changes["clients"] is not None:
        state["clients"] = changes["clients"]
    state["history"] = [*state.get("history", []), *changes["history"]]
