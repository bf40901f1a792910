"""One closed schema for each receiver of messages, servers included, and who may say what to it."""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from parkcos.cluster import messages as m

CLIENT, NODE, SCHEDULER, SERVER = "peer", "node", "scheduler", "server"
"""What processes are to each other; "peer" is a program, which may have clients, and a scheduler of its own."""

_SAID: dict[str, dict[tuple[str, ...], Any]] = {
    "scheduler": {(NODE,): m.NodeToScheduler, (CLIENT,): m.ClientToScheduler},
    "node": {(SCHEDULER, CLIENT): m.SchedulerToNode, (CLIENT,): m.ClientToNode},
    "client": {(SCHEDULER,): m.SchedulerToClient, (NODE,): m.NodeToClient, (SERVER,): m.ServerToClient},
    "server": {(CLIENT,): m.ToServer},
}
SAID_BY: dict[str, dict[type, frozenset[str]]] = {
    part: {kind: frozenset(roles) for roles, kinds in said.items() for kind in get_args(kinds)}
    for part, said in _SAID.items()
}
"""Who may say what to a part of a cluster: the roles for each kind of message.  A program's own scheduler is in the
same process as its clients, and what is said within a process needs no leave."""

encode = msgspec.msgpack.Encoder().encode
DECODERS: dict[str, msgspec.msgpack.Decoder[Any]] = {
    "scheduler": msgspec.msgpack.Decoder(m.ToScheduler),
    "node": msgspec.msgpack.Decoder(m.ToNode),
    "client": msgspec.msgpack.Decoder(m.ToClient),
    "server": msgspec.msgpack.Decoder(m.ToServer),
}
