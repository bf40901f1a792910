"""How a server process begins, and how a task there ends it."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import sys
from pathlib import Path

from parkcos.cluster import namespace
from parkcos.errors import ParkcosError
from parkcos.net.options import NetworkOptions
from parkcos.net.runtime import Parkcos
from parkcos.node import ending, family
from parkcos.node import executor as ex
from parkcos.node.client_folders import server_folder
from parkcos.node.server import Server
from parkcos.node.server_config import ServerConfig
from parkcos.node.tally import Tally
from parkcos.program.signals import handle

logger = logging.getLogger("parkcos")

SWITCH_INTERVAL_S = 0.0005
"""How long a computing task may keep the I/O thread waiting; the default of 5 ms would delay every message by that."""

CLIENT_COMES_S = 2.0
"""A client dials its servers; if it cannot, because they are behind NAT, they dial it after this time."""

_EXIT = -999
"""The priority of what is done at the end of any program: last, but before the network closes, for a client waits for
servers that it has a session with."""

_server: Server | None = None


def main(
    config: ServerConfig,
    options: NetworkOptions,
    index: int,
    ports: list[int],
    reports: int,
    lifeline: int,
    directory: Path,
    tally: Tally,
) -> int:
    """Be server number `index`; returns the exit code."""
    global _server
    tally.begin(index)
    home = server_folder(directory, index)
    home.mkdir(exist_ok=True)
    os.chdir(home)
    sys.path.insert(0, str(home))
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    handle(signal.SIGINT, signal.SIG_IGN)
    runtime = Parkcos.instance()
    runtime.configure(
        dataclasses.replace(options, name=f"{config.node_name}/{index + 1}", tcp_ports=ports, dest_path=Path.cwd())
    )
    server = _server = Server(config, index, runtime, reports, tally)
    if (port := server.network.location.port) != ports[0] != 0:
        logger.warning("TCP port %d is taken by another process: this server has port %d", ports[0], port)
    runtime.atexit(_EXIT, ending.finish)
    runtime.kernel.post(namespace.HOME.install_rest)
    handle(signal.SIGUSR1, server.interrupted)
    handle(signal.SIGTERM, server.asked_to_end)
    handle(signal.SIGUSR2, server.asked_to_end)
    runtime.io.call(runtime.io.loop.add_reader, lifeline, lambda: os.killpg(0, signal.SIGKILL))
    runtime.io.call(runtime.io.loop.call_later, CLIENT_COMES_S, server.meet_client)
    server.report(family.LISTENING)
    runtime.kernel.run()
    return 0


def close_server(terminate: bool = False, restart: bool = False) -> None:
    """In a task at a server: end this server once its CPU tasks have ended.

    Args:
        terminate: at once: its other tasks get KeyboardInterrupt, and they and this one five seconds.
        restart: start a fresh server in its place.

    Raises: ParkcosError if this process is not a server.  Do not yield it.  Source: chapter 6.4.
    """
    server = _this_server("close_server")
    current = server.kernel.current
    by = next((number for number, each in list(server.running.items()) if each.task is current is not None), 0)
    server.ends_itself = True
    # Now, so that nothing more begins here; and before its node is told, which asks it to end without sparing anybody.
    server.handle(ex.CloseAsked(ex.INTERRUPT_GRACE_S if terminate else -1.0, by))
    server.report(family.RESTARTS if restart else family.CLOSES, terminate)


def close_node(terminate: bool = False) -> None:
    """In a task at a server: end all servers of its node once their CPU tasks have ended.

    Args:
        terminate: at once: their tasks, this one too, get KeyboardInterrupt and five seconds.

    Raises: ParkcosError if this process is not a server.  Do not yield it.  Source: chapter 6.4.
    """
    server = _this_server("close_node")
    server.ends_itself = True
    server.report(family.CLOSE_NODE, terminate)


def _this_server(what: str) -> Server:
    if _server is None:
        raise ParkcosError(f"{what}() works in a task at a server, and this process is none")
    return _server
