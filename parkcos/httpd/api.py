"""The routes below /api/: the state, one node, server or task; what can be done to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Protocol

import msgspec
from aiohttp import web

from parkcos.httpd import records as r
from parkcos.httpd.acting import Refused
from parkcos.httpd.board import Board
from parkcos.httpd.model import Model
from parkcos.web.answers import answer, body, encoded, refused
from parkcos.web.openapi import Operation, Schemas, add_routes
from parkcos.web.stream import Stream

POLL_MIN_S, POLL_MAX_S = 0.5, 600.0
TASKS_MAX = 10_000
"""Of an answer."""
HEX = r"[0-9a-f]{1,16}"
"""The id of a node or server."""


class Actions(Protocol):
    """What the dashboard can do; each raises Refused."""

    def node(self, number: int, name: str, what: str, terminate: bool) -> None:
        """Suspend, resume, close, restart."""

    def server(self, number: int, name: str, what: str, terminate: bool) -> None:
        """Likewise."""

    def terminate(self, tasks: Iterable[int]) -> list[int]:
        """Returns: those that cannot be."""


WHAT = ("suspend", "resume", "close", "restart")
_PLACE: Schemas = {"id": {"type": "string", "pattern": f"^{HEX}$"}}
_TASK: Schemas = {"id": {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}}
_ACTION: Schemas = {**_PLACE, "what": {"enum": WHAT}}
_NUMBER = {"type": "integer", "minimum": 0, "maximum": 10**9 - 1}
_STATE = "|".join(sorted(r.TASK_STATES))
_CHOICE: Schemas = {
    "state": {"type": "string", "pattern": f"^({_STATE})(,({_STATE}))*$"},
    "name": {"type": "string"},
    "server": _PLACE["id"],
    "node": _PLACE["id"],
    "limit": _NUMBER,
    "offset": _NUMBER,
}


class How(msgspec.Struct, forbid_unknown_fields=True):
    terminate: bool = False


class Which(msgspec.Struct, forbid_unknown_fields=True):
    tasks: list[int]


class Set(msgspec.Struct, forbid_unknown_fields=True):
    poll_s: Annotated[float, msgspec.Meta(ge=POLL_MIN_S, le=POLL_MAX_S)] | None = None
    show_args: bool | None = None


class Api:
    """The routes.

    Args:
        show_args: called when the tasks' arguments are to be shown from now on.
    """

    def __init__(self, board: Board, stream: Stream, actions: Actions, show_args: Callable[[], object]) -> None:
        self._board = board
        self._stream = stream
        self._actions = actions
        self._show_args = show_args

    @property
    def operations(self) -> list[Operation]:
        """What can be asked."""
        o, act = Operation, "{what:" + "|".join(WHAT) + "}"
        return [
            o("GET", "/api/state", self._state, "Everything.", r.State),
            o("GET", "/cluster_status", self._cluster_status, "The nodes, as pycos gave them.", list[r.NodeStatus]),
            o("GET", "/api/nodes/{id}", self._node, "One node.", r.NodeAnswer, in_path=_PLACE),
            o("GET", "/api/servers/{id}", self._server, "One server.", r.ServerAnswer, in_path=_PLACE),
            o("GET", "/api/tasks", self._tasks, "Tasks, the newest first.", r.TasksAnswer, query=_CHOICE),
            o("GET", "/api/tasks/{id}", self._task, "One task.", r.TaskAnswer, in_path=_TASK),
            o("POST", f"/api/nodes/{{id}}/{act}", self._act_on_node, "Do this to a node.", r.Done, How, _ACTION),
            o("POST", f"/api/servers/{{id}}/{act}", self._act_on_server, "Do this to a server.", r.Done, How, _ACTION),
            o("POST", "/api/tasks/terminate", self._terminate, "End these tasks.", r.Terminated, Which),
            o("POST", "/api/settings", self._settings, "Set what holds for all who look.", r.Done, Set),
        ]

    def add_routes(self, app: web.Application) -> None:
        """Serve them."""
        add_routes(app, self.operations)

    # -- looking

    async def _state(self, request: web.Request) -> web.StreamResponse:
        return encoded(self._board.snapshot()[1])

    async def _cluster_status(self, request: web.Request) -> web.StreamResponse:
        """The nodes, as the dashboard of pycos gave them: programs read that."""
        nodes = [
            r.NodeStatus(
                name=node.name,
                addr=node.addr,
                status=node.state.capitalize(),
                servers=node.servers,
                update_time=node.pulse,
                tasks_submitted=node.submitted,
                tasks_done=node.done,
                avail_info=r.Available(node.cpu, node.memory, node.disk, node.swap),
            )
            for node in self._board.state().nodes
        ]
        return answer(nodes)

    async def _node(self, request: web.Request) -> web.StreamResponse:
        number = _number(request)

        def look(model: Model) -> r.NodeAnswer:
            if (node := model.nodes.get(number)) is None:
                raise _unknown(request, "node")
            history, output = model.node_history.get(number, ()), model.output.get(number, ())
            return r.NodeAnswer(node, list(history), list(output))

        return answer(self._board.look(look))

    async def _server(self, request: web.Request) -> web.StreamResponse:
        number = _number(request)

        def look(model: Model) -> r.ServerAnswer:
            if (server := model.servers.get(number)) is None:
                raise _unknown(request, "server")
            return r.ServerAnswer(server, list(model.output.get(number, ())))

        return answer(self._board.look(look))

    async def _task(self, request: web.Request) -> web.StreamResponse:
        number = _number(request, 10)

        def look(model: Model) -> r.TaskAnswer:
            if (task := model.tasks.get(number)) is None:
                raise _unknown(request, "task")
            detail = model.details.get(number) or r.Detail()
            args = detail.args if model.show_args else None
            return r.TaskAnswer(task, args, detail.traceback, detail.result)

        return answer(self._board.look(look))

    async def _tasks(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        if unknown := set(query) - set(_CHOICE):
            raise web.HTTPBadRequest(reason=f"{ascii(min(unknown))[:50]} chooses nothing; give {', '.join(_CHOICE)}")
        states, name = _states(query.get("state", "")), query.get("name", "").lower()
        server, node = _id(query.get("server", ""), "server"), _id(query.get("node", ""), "node")
        limit, offset = _count(query.get("limit", "100"), "limit"), _count(query.get("offset", "0"), "offset")

        def look(model: Model) -> list[r.TaskRecord]:
            return [
                task
                for task in reversed(model.tasks.values())
                if (not states or task.state in states)
                and (not server or task.server == server)
                and (not node or task.node == node)
                and (not name or name in task.name.lower())
            ]

        found = self._board.look(look)
        return answer(r.TasksAnswer(found[offset : offset + min(limit, TASKS_MAX)], len(found)))

    # -- acting

    async def _act_on_node(self, request: web.Request) -> web.StreamResponse:
        how = await body(request, How)
        number, what = _number(request), request.match_info["what"]
        node = self._board.look(lambda model: model.nodes.get(number))
        if node is None:
            raise _unknown(request, "node")
        return self._do(lambda: self._actions.node(number, node.name, what, how.terminate))

    async def _act_on_server(self, request: web.Request) -> web.StreamResponse:
        how = await body(request, How)
        number, what = _number(request), request.match_info["what"]
        server = self._board.look(lambda model: model.servers.get(number))
        if server is None:
            raise _unknown(request, "server")
        return self._do(lambda: self._actions.server(number, server.name, what, how.terminate))

    async def _terminate(self, request: web.Request) -> web.StreamResponse:
        which = await body(request, Which)

        def terminate() -> r.Terminated:
            missed = self._actions.terminate(which.tasks)
            if missed and len(missed) == len(set(which.tasks)):
                raise Refused(f"none of the tasks {missed[:10]} runs or waits: they have ended, or just begin")
            return r.Terminated(missed)

        return self._do(terminate)

    async def _settings(self, request: web.Request) -> web.StreamResponse:
        wanted = await body(request, Set)

        def change() -> None:
            shown = self._board.model.show_args
            self._board.tell(r.SettingsChanged(wanted.poll_s, wanted.show_args))
            if wanted.poll_s is not None:
                self._stream.restart()
            if wanted.show_args and not shown:
                self._show_args()

        return self._do(change)

    def _do(self, action: Callable[[], r.Done | r.Terminated | None]) -> web.StreamResponse:
        try:
            done = action() or r.Done()
        except Refused as error:
            return refused(409, str(error))
        self._stream.be_eager()
        return answer(done)


def _number(request: web.Request, base: int = 16) -> int:
    text = request.match_info["id"]
    if not re.fullmatch(HEX if base == 16 else r"[0-9]{1,18}", text):
        raise web.HTTPNotFound(reason="no such id")
    return int(text, base)


def _unknown(request: web.Request, what: str) -> web.HTTPException:
    return web.HTTPNotFound(reason=f"there is no such {what}, or it ended long ago")


def _states(text: str) -> set[str]:
    """Those that are named, with commas; none: any."""
    states = set(text.split(",")) if text else set()
    if not states <= r.TASK_STATES:
        unknown = ascii(sorted(states - r.TASK_STATES)[0])[:50]
        allowed = ", ".join(sorted(r.TASK_STATES))
        raise web.HTTPBadRequest(reason=f"state: no task is ever {unknown}; give one of {allowed}, or some with commas")
    return states


def _id(text: str, name: str) -> str:
    if text and not re.fullmatch(HEX, text):
        raise web.HTTPBadRequest(reason=f"{name}: give an id, as {name}s have it in /api/state")
    return text


def _count(text: str, name: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise web.HTTPBadRequest(reason=f"{name} must be a number, 0 or more")
    return int(text)
