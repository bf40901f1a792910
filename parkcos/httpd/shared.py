"""The dashboard of a shared scheduler: its queue of clients, its nodes and whom they serve (`parkcos.py --httpd`)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from parkcos.cluster.node_info import NodeInfo
from parkcos.httpd import records as r
from parkcos.httpd.acting import Refused
from parkcos.httpd.board import Board
from parkcos.httpd.server import new_model
from parkcos.httpd.site import Site
from parkcos.net.location import Location
from parkcos.net.runtime import Parkcos
from parkcos.scheduler import state as st
from parkcos.scheduler.service import SchedulerService
from parkcos.web.site import SiteOptions

CLOSE_S = 1.0


class SchedulerWatch:
    """Tells the board what has changed when somebody looks.  I/O thread, but for its making."""

    def __init__(self, service: SchedulerService, board: Board) -> None:
        self._machine = service.machine
        self._board = board
        self._changed = True
        self._known: dict[int, NodeInfo] = {}
        self._since: dict[tuple[int, bool], float] = {}
        service.observer = self._told
        board.refresh = self.refresh

    def _told(self) -> None:
        self._changed = True
        self._board.urgent()

    def refresh(self) -> None:
        """Bring the board up to date."""
        if not self._changed:
            return
        self._changed = False
        self._board.tell(*self._events())

    def _events(self) -> Iterable[r.Event]:
        machine, known = self._machine, self._known
        now = time.time()
        names = {number: client.name for number, client in machine.queue.items()}
        for number in [number for number in known if number not in machine.nodes]:
            del known[number]
            yield r.NodeChanged(number, "lost", "it ended, or nothing is heard of it")
        for number, node in machine.nodes.items():
            info = node.info
            if known.get(number) != info:
                known[number] = info
                yield r.NodeSeen(
                    number, info.name, info.addr, info.port, info.platform, info.cpus, info.memory, info.disk
                )
            yield r.NodeChanged(number, *_node_state(node, names))
        queue = []
        since = {}
        for position, client in enumerate(machine.queue.values(), start=1):
            key = client.client, position == 1
            since[key] = self._since.get(key, now)
            state = "waiting" if position > 1 or client.absent_until is not None else "running"
            addr = str(Location(client.addr, client.port))
            queue.append(r.ClientRecord(r.hexed(client.client), client.name, addr, position, state, since[key]))
        self._since = since
        yield r.QueueChanged(queue)
        yield r.StateChanged("running")


def _node_state(node: st.NodeRecord, names: dict[int, str]) -> tuple[str, str, str]:
    """Its state, the reason, and whom it serves."""
    if node.info.closed:
        return "suspended", node.info.closed, ""
    if not node.client:
        return "discovered", "it is free", ""
    name = names.get(node.client, "")
    whom = name or "a client of another scheduler"
    match node.state:
        case st.HELD:
            return "running", f"it serves {whom}", whom
        case st.RELEASING:
            return "closing", f"it ends what it did for {whom}", whom
        case st.UNWANTED:
            return "discovered", f"{whom} does not want it", ""
        case _:
            return "discovered", f"it is offered to {whom}", ""


class NoActions:
    """The nodes are those of clients: only they can say what these are to do."""

    def node(self, number: int, name: str, what: str, terminate: bool) -> None:
        """Raises: Refused."""
        raise Refused(f"{what}: the node {name} obeys the client that it serves; use the dashboard of that client")

    def server(self, number: int, name: str, what: str, terminate: bool) -> None:
        """Raises: Refused."""
        raise Refused(f"{what}: a scheduler does not know the servers; use the dashboard of the client")

    def terminate(self, tasks: Iterable[int]) -> list[int]:
        """Raises: Refused."""
        raise Refused("terminate: a scheduler does not know the tasks; use the dashboard of the client")


class Dashboard:
    """An open one."""

    def __init__(self, service: SchedulerService, options: SiteOptions) -> None:
        self._io = Parkcos.instance().io
        self._service = service
        board = Board(new_model("scheduler", service.network.name, 10.0, True, 1))
        SchedulerWatch(service, board)
        try:
            self._site = Site(self._io, board, options, NoActions(), lambda: None)
        except BaseException:
            service.observer = None
            raise

    def close(self) -> None:
        """End it, after the last news.  Not in the I/O thread."""
        self._service.observer = None
        self._io.run(self._site.close(CLOSE_S)).result()


def open_dashboard(
    service: SchedulerService,
    port: int | None = None,
    host: str | None = None,
    token: str | None = None,
    name: Sequence[str] = (),
    certfile: str | None = None,
    keyfile: str | None = None,
    view_token: str | None = None,
    insecure: bool = False,
) -> Dashboard:
    """What `parkcos.py --httpd` does; the arguments are those of its options.  Raises: ConfigError."""
    return Dashboard(service, SiteOptions(host, port, None, keyfile, certfile, token, name, view_token, insecure))
