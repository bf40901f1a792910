"""The node program: the shell around the node's state machine.  One process that supervises; it runs no tasks.

Everything here happens in the I/O thread.
"""

from __future__ import annotations

import asyncio
import getpass
import itertools
import logging
import os
import platform
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parkcos.cluster import messages as m
from parkcos.cluster.postbox import Postbox
from parkcos.cluster.timer import DeadlineTimer
from parkcos.errors import ConfigError
from parkcos.net.location import Location
from parkcos.net.network import Network
from parkcos.net.payload import Buffer
from parkcos.net.peer import Peer
from parkcos.net.runtime import VERSION
from parkcos.node import family, server
from parkcos.node import state as st
from parkcos.node.nursery import Nursery

logger = logging.getLogger("parkcos")

DEFAULT_PORT = 9706
PEER_RETRY_S = 2.0
HATCH_AGAIN_S = 1.0
"""What made a process fail that no client has used yet will most likely be there for a while."""


@dataclass
class NodeOptions:
    """What a node offers.  server_ports: tried in order for the servers; empty: any free ones."""

    cpus: int
    server_ports: Sequence[int] = ()
    dest_path: Path | None = None
    peers: Sequence[Location] = ()
    debug: bool = False
    on_stop: list[Any] = field(default_factory=list)


def default_dest_path() -> Path:
    """Where nodes keep clients' files, if not told otherwise: a directory of this user's own."""
    return Path(tempfile.gettempdir()) / f"parkcos-{getpass.getuser()}"


class NodeProgram:
    """A node on a network that has not started yet: whoever finds it asks at once, and only once."""

    def __init__(self, network: Network, options: NodeOptions) -> None:
        self.network = network
        self.options = options
        self.machine = st.NodeMachine()
        self.loop = network.io.loop
        self.box = Postbox.of(network)
        self.stopped = False
        self.directory = (options.dest_path or default_dest_path()) / f"node-{network.location.port}"
        self._prepare_directory()
        self._platform = platform.platform()
        self._numbers = itertools.count(1)
        self._warm: Nursery | None = None
        self._nursery: Nursery | None = None
        self._bundle: Buffer = b""
        self._shared: dict[int, str] = {}
        """The shared schedulers that know this node: a program that would use a scheduler of its own is sent there."""
        self._client_name = ""
        self._timer = DeadlineTimer(self.loop, self.machine.next_deadline, lambda: self.handle(st.TimePassed()))
        self.box.serve("node", self._received)
        network.hub.callbacks.gone.append(self._peer_gone)

    def _prepare_directory(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self.directory.stat().st_uid != os.geteuid():
                raise ConfigError(f"{self.directory} belongs to another user: give --dest_path")
        except OSError as error:
            raise ConfigError(f"cannot use {self.directory} for clients' files: {error.strerror}") from None

    def start(self) -> None:
        """I/O thread: get ready for the first client."""
        self._warm = self._hatch()
        self._keep_peers()

    def _keep_peers(self) -> None:
        for location in self.options.peers:
            self.network.hub.peer_at(location)
        if self.options.peers and not self.stopped:
            self.loop.call_later(PEER_RETRY_S, self._keep_peers)

    def _hatch(self) -> Nursery:
        nursery: Nursery

        def mine() -> bool:
            return nursery is self._nursery

        def news(message: family.Message) -> None:
            if not mine():
                return
            match message:
                case family.Opened():
                    self.handle(st.SetupDone())
                case family.OpenFailed(error):
                    self.handle(st.SetupFailed(error))
                case family.Exited(index, reason):
                    self.handle(st.ServerExited(index, reason))

        def report(kind: int, index: int, port: int, incarnation: int) -> None:
            if not mine():
                return
            if kind == family.LISTENING:
                self.handle(st.ServerListening(index, port, incarnation))
            elif kind in (family.CLOSES, family.RESTARTS):
                restart = kind == family.RESTARTS
                self.handle(st.CloseServerAsked(self.machine.client, incarnation, terminate=False, restart=restart))
            elif kind == family.CLOSE_NODE:
                self.handle(st.CloseAsked(self.machine.client, terminate=False))

        def ended(reason: str) -> None:
            if mine():
                self._nursery = None
                self.handle(st.ZygoteExited(reason))
            elif nursery is self._warm:
                logger.error("%s before any client came; starting another", reason)
                self._warm = None
                self.loop.call_later(HATCH_AGAIN_S, self._keep_warm)

        nursery = Nursery(self.loop, news, report, ended)
        return nursery

    def _keep_warm(self) -> None:
        if self._warm is None and not self.stopped:
            self._warm = self._hatch()

    # -- events

    def _received(self, process: int, message: Any, form: int, payload: Buffer) -> None:
        match message:
            case m.AskState():
                peer = self.network.hub.by_incarnation.get(process)
                if peer is not None and "scheduler" in peer.roles:
                    self._shared[process] = str(peer.location)
                self.handle(st.SchedulerSeen(process))
            case m.ReserveNode():
                # The client is dialled now, so that its end is noticed at once, whoever of us talks first.
                self.network.hub.peer_at(Location(message.client_addr, message.client_port), message.client_incarnation)
                self.handle(st.ReserveAsked(process, message.client, message.client_incarnation))
            case m.ReleaseNode():
                self.handle(st.ReleaseAsked(message.client))
            case m.SetupNode():
                if process == self.machine.client_process:
                    self._bundle = payload
                    cpus = max(1, min(message.cpus, self.options.cpus))
                    self.handle(st.SetupAsked(message.client, cpus, message.restart_servers))
            case m.CloseNode():
                self.handle(st.CloseAsked(message.client, message.terminate))
            case m.CloseServer():
                self.handle(st.CloseServerAsked(message.client, message.server, message.terminate, message.restart))

    def _peer_gone(self, peer: Peer, reason: str) -> None:
        if peer.incarnation == self.machine.client_process and self.machine.client:
            logger.info("the client at %s is gone (%s): its servers are ended", peer.location, reason)
        self._shared.pop(peer.incarnation, None)
        self.handle(st.ProcessLost(peer.incarnation, reason))

    def handle(self, event: st.Event) -> None:
        """Tell the machine a fact and do what it says."""
        before = self.machine.phase
        effects = self.machine.handle(event, time.monotonic())
        if self.machine.phase != before:
            logger.info("node %s: %s -> %s", self.network.name, before, self.machine.phase)
        for effect in effects:
            self._execute(effect)
        self._timer.rearm()

    def stop(self, terminate: bool = True) -> None:
        """I/O thread: end this node; `options.on_stop` are called when it has ended."""
        self.handle(st.StopAsked(terminate))

    # -- effects

    def _execute(self, effect: st.Effect) -> None:
        match effect:
            case st.ToScheduler(process, None):
                self.box.send(process, "scheduler", m.NodeState(self.info(), self.machine.client))
            case st.ToScheduler(process, message):
                assert message is not None
                self.box.send(process, "scheduler", message)
            case st.ToClient(process, message):
                self.box.send(process, "client", message)
            case st.OpenZygote(client):
                self._open_zygote(client)
            case st.ForkServer(index):
                self._order(family.Fork(index, self._ports(index)))
            case st.EndServer(index, grace_s):
                self._order(family.Signal(index, signal.SIGTERM if grace_s >= 0 else signal.SIGUSR2))
            case st.KillServer(index):
                logger.warning("server %d did not end in time and is killed", index + 1)
                self._order(family.Signal(index, signal.SIGKILL))
            case st.CloseZygote():
                self._order(family.Close())
            case st.Stop():
                self._stopped()

    def _order(self, order: family.Message) -> None:
        if self._nursery is not None:
            self._nursery.order(order)

    def _ports(self, index: int) -> list[int]:
        ports = list(self.options.server_ports)
        return [ports[index]] if index < len(ports) else [0]

    def _open_zygote(self, client: int) -> None:
        self._nursery = self._warm or self._hatch()
        self._warm = None
        directory = self.directory / f"client-{next(self._numbers)}"
        directory.mkdir(mode=0o700)
        (directory / server.BUNDLE).write_bytes(self._bundle)
        self._bundle = b""
        self._nursery.directory = directory
        options, keys = self.network.options, self.network.options.keys
        self._nursery.order(
            family.Open(
                family.ServerConfig(
                    host=self.network.own.addr,
                    ext_host=options.ext_host or "",
                    node_name=self.network.name,
                    client=client,
                    client_process=self.machine.client_process,
                    ca_seed=keys.ca_seed if keys else b"",
                    mac_key=keys.mac_key if keys else b"",
                    pulse_s=options.pulse_s,
                    debug=self.options.debug,
                ),
                str(directory),
            )
        )
        self._warm = self._hatch()  # for the next client

    def _stopped(self) -> None:
        self.stopped = True
        self._timer.cancel()
        if self._warm is not None:
            self._warm.kill()
            self._warm = None
        for path in (self.directory, self.directory.parent):
            try:
                path.rmdir()
            except OSError:  # another node's files, or what a user has put there
                break
        for callback in self.options.on_stop:
            callback()

    def info(self) -> m.NodeInfo:
        """This node, as it is now."""
        import psutil

        return m.NodeInfo(
            incarnation=self.network.incarnation,
            name=self.network.name,
            addr=self.network.location.addr,
            port=self.network.location.port,
            cpus=self.options.cpus,
            platform=self._platform,
            python=self.network.hub.own.python,
            version=VERSION,
            memory=psutil.virtual_memory().available,
            disk=psutil.disk_usage(str(self.directory)).free,
            scheduler=next(iter(self._shared.values()), ""),
        )


def wait_until_stopped(program: NodeProgram) -> None:
    """Start the node and wait in the main thread until SIGINT or SIGTERM has ended it."""
    loop = program.loop
    done = asyncio.run_coroutine_threadsafe(_until_stopped(program), loop)

    def stop(*_: Any) -> None:
        loop.call_soon_threadsafe(program.stop)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    while True:
        try:
            done.result(timeout=3600)
            return
        except TimeoutError:
            continue


async def _until_stopped(program: NodeProgram) -> None:
    stopped = asyncio.Event()
    program.options.on_stop.append(stopped.set)
    program.start()
    await stopped.wait()
