"""What is said between a client that returns and what its earlier program has left: the shell of returning.py."""

from __future__ import annotations

import logging

from parkcos.client import dispatch_events as d
from parkcos.client import returning_events as r
from parkcos.client.handle import TaskHandle
from parkcos.client.nodes import Nodes
from parkcos.client.records import Task
from parkcos.client.sent import NotedTask
from parkcos.client.shell import ClientShell, shown
from parkcos.client.submission import Submission
from parkcos.cluster import messages as m
from parkcos.cluster import server_messages as sm
from parkcos.errors import TaskAbandoned, UsageError
from parkcos.kernel import Completion
from parkcos.net.location import Location
from parkcos.net.tasks import outcomes

logger = logging.getLogger("parkcos")


class Resuming:
    """One for each client."""

    def __init__(self, shell: ClientShell, nodes: Nodes) -> None:
        self._shell = shell
        self._nodes = nodes
        self._handles: dict[int, TaskHandle] = {}
        """Of the earlier programs' tasks, by number."""
        self._noted: dict[int, NotedTask] = {}
        self._is_over = False
        """Nothing more will be heard of them."""
        self._waiting: list[Completion[list[TaskHandle]]] = []
        shell.executes(r.ReturnToNode, self._return_to_node)
        shell.executes(r.ReturnToServer, self._return_to_server)
        shell.executes(r.ReportLost, self._report_lost)
        shell.executes(r.ReportResumed, self._report_resumed)

    def begin(self) -> None:
        """It is the client's turn.  Kernel thread."""
        shell = self._shell
        with shell.lock:
            if (identity := shell.identity) is None:
                return
            self._noted = identity.sent.tasks.copy()
            nodes = [r.NodeNoted(each.info, each.cpus) for each in identity.sent.nodes.values()]
            for each in identity.sent.nodes.values():
                number = each.info.incarnation
                if number not in shell.machine.nodes:
                    self._nodes.infos[number] = each.info
                    shell.circle.came_back(number, each.grants)
            if nodes or self._noted:
                count = len(self._noted)
                logger.info("%s returns, to %d nodes, with %d tasks not released", shell.name, len(nodes), count)
            tasks = [r.TaskNoted(each.number, each.node, each.server) for each in self._noted.values()]
            shell.handle(r.Returns(nodes, tasks))

    def resumed(self) -> Completion[list[TaskHandle]]:
        """As `Client.resumed`."""
        shell = self._shell
        if not shell.orphan_s:
            raise UsageError("resumed() is for a client that may return\n  write: Client(identity='FILE')")
        shell.must_run()

        def start(completion: Completion[list[TaskHandle]]) -> None:
            with shell.lock:
                if self._is_over:
                    completion.set_result(self._sorted())
                else:
                    self._waiting.append(completion)

        return Completion(shell.kernel, "resumed", start)

    def _sorted(self) -> list[TaskHandle]:
        return [self._handles[number] for number in sorted(self._handles)]

    # -- with the client's lock: what is said

    def _return_to_node(self, effect: r.ReturnToNode) -> None:
        shell = self._shell
        info, identity = self._nodes.infos[effect.node], shell.identity
        assert identity is not None
        message = m.ReturnToNode(
            shell.id,
            identity.claim(shell.network.incarnation),
            self._nodes.pulse_interval,
            self._nodes.alive_s(effect.node),
            self._nodes.forward_output,
        )
        shell.network.hub.peer_at(Location(info.addr, info.port), effect.node, anew=True)
        shell.sharing.node_begins(effect.node)
        if not shell.side.box.send(effect.node, "node", message):
            shell.kernel.post(self._is_gone, effect.node)

    def _is_gone(self, node: int) -> None:
        self._shell.handle(d.ProcessLost(node, "it is gone"))

    def _return_to_server(self, effect: r.ReturnToServer) -> None:
        shell = self._shell
        identity = shell.identity
        assert identity is not None
        shell.known[effect.server] = {}
        self._nodes.meet(effect.server)
        message = sm.ReturnToServer(shell.id, identity.claim(shell.network.incarnation))
        shell.side.box.send(effect.server, "server", message)

    # -- what is heard

    def node_resumed(self, process: int, message: m.NodeResumed) -> None:
        """A node serves this program now."""
        shell = self._shell
        with shell.lock:
            if (info := self._nodes.infos.get(process)) is not None:
                logger.info("%s: the node %s has %d servers for it", shell.name, shown(info), len(message.servers))
            self._nodes.earlier_spaces.update({each.incarnation: each.space for each in message.servers if each.space})
            servers = [r.ServerKept(each.incarnation, each.own) for each in message.servers]
            shell.handle(r.NodeIsResumed(process, message.setup_id, message.ready, message.left, servers))

    def server_resumed(self, process: int, message: sm.ServerResumed) -> None:
        """A server serves this program now, and says of which tasks it has something to say."""
        shell = self._shell
        with shell.lock:
            if process not in shell.machine.servers:
                return
            records: list[Task] = []
            released = shell.identity.sent.recent if shell.identity is not None else {}
            # What it has not heard to be safe, or was run again at another server.
            elsewhere = {number for number, noted in self._noted.items() if noted.server != process}
            over = {each.task for each in message.tasks if each.task in released or each.task in elsewhere}
            if over:
                shell.side.box.send(process, "server", sm.ReleaseTasks(shell.id, sorted(over)))
            for each in message.tasks:
                if each.task in over:
                    continue
                if each.task not in shell.submissions and each.task not in self._handles:
                    record = self._record(each.task, each.name, each.io, process)
                    shell.submissions[each.task] = record
                    records.append(record)
            shell.handle(r.ServerIsResumed(process, message.opened, records, message.more))

    def _record(self, number: int, name: str, io: bool, server: int) -> Submission:
        noted = self._noted.get(number)
        record = Submission(
            number=number,
            io=io,
            kind=name,
            name=name,
            args=(),
            kwargs={},
            form=0,
            buffers=[],
            definitions=(),
            digest=noted.digest if noted is not None else "",
            sent_to=server,
        )
        record.handle = self._handles[number] = TaskHandle(self._shell, record)
        return record

    def _report_lost(self, effect: r.ReportLost) -> None:
        noted = self._noted.get(effect.task)
        if noted is None or effect.task in self._handles:
            return
        record = self._record(noted.number, noted.name, noted.io, 0)
        error = TaskAbandoned(f"{record.name}: {effect.reason}")
        self._shell.kernel.post(self._handles[effect.task]._ended, outcomes.abandoned(error))

    def _report_resumed(self, effect: r.ReportResumed) -> None:
        self._is_over = True
        self._noted = {}
        waiting, self._waiting = self._waiting, []
        for completion in waiting:
            self._shell.kernel.post(completion.set_result, self._sorted())
