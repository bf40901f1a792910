"""The node of a LocalCluster: whatever keeps it from starting, or ends it, is told to its program."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from typing import TYPE_CHECKING, NoReturn

from parkcos.deploy.messages import LOOPBACK, Failed, Ready, line, read_begin
from parkcos.net.core_files import leave_no_core_files
from parkcos.net.options import NetworkOptions
from parkcos.net.runtime import VERSION
from parkcos.net.standard import open_standard
from parkcos.net.trust.tls import TlsIdentity
from parkcos.node import birth
from parkcos.node.identity import settle

if TYPE_CHECKING:
    from parkcos.node.program import NodeProgram

ERROR_CHARACTERS_MAX = 2000


def main() -> NoReturn:
    """Entry: ``start.py parkcos.commands.local_node socket_fd``.  The socket's end is this node's end."""
    open_standard()
    sock = socket.socket(fileno=int(sys.argv[1]))
    code = 0
    try:
        _run(sock)
    except Exception as error:
        code, reason = 1, f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS_MAX]
        with contextlib.suppress(OSError):  # nobody listens any more
            sock.sendall(line(Failed(reason)))
    logging.shutdown()
    os._exit(code)  # to take the interpreter down takes longer than all the rest of the end


def _run(sock: socket.socket) -> None:
    client_user = settle()
    leave_no_core_files()  # of the zygote, too
    # Where tasks run as another user, only a program of its own can be that user's.
    first = birth.fork([sock.fileno()]) if client_user is None and hasattr(os, "fork") else None
    # What only the node needs is imported while the zygote gets ready.
    from parkcos.node.offer import NodeOptions
    from parkcos.node.running import run
    from parkcos.program.options import set_up_logging

    with sock.makefile("rb") as lines:
        said = lines.readline()
    if not said:
        return
    begin = read_begin(said)
    set_up_logging(begin.debug, quiet=True)
    options = NetworkOptions(
        host=LOOPBACK,  # whatever address its program has: nobody else is to come near it
        tcp_ports=(0,),
        name=begin.name,
        keys=begin.keys,
        incarnation=begin.incarnation,
        identity=TlsIdentity(
            begin.keys, begin.name, certificate=begin.certificate, roles=["node"], incarnation=begin.incarnation
        ),
        roles=("node",),
        dial_roles=set(),
        discover=False,
        version=VERSION,
        say_address=False,
        max_payload=begin.max_payload,
    )
    node = NodeOptions(begin.cpus, debug=begin.debug, client_user=client_user, first=first, log_output=False)

    def listening(program: NodeProgram) -> None:
        with contextlib.suppress(OSError):  # who started it may have ended meanwhile, which is seen below
            sock.sendall(line(Ready(program.network.location.port)))
        program.loop.call_soon_threadsafe(program.loop.add_reader, sock.fileno(), parent_gone, program)

    def parent_gone(program: NodeProgram) -> None:
        program.loop.remove_reader(sock.fileno())
        program.stop()

    run(options, node, listening)
