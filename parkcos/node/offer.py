"""What a node offers: how many servers, with which options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parkcos.cluster.processors import usable_processors
from parkcos.errors import ConfigError
from parkcos.net.location import Location
from parkcos.net.trust.claims import ORPHAN_MAX_S
from parkcos.node import birth
from parkcos.node.groups import Groups
from parkcos.node.hours import Hours
from parkcos.node.identity import ClientUser
from parkcos.node.limits import Limits
from parkcos.node.processes import ProcessFile
from parkcos.node.tally import OWN_MAX, SERVERS_MAX

DEFAULT_PORT = 9706
OWN_PER_SERVER = 4
"""Processes of single tasks for each server, unless the operator says how many."""


@dataclass
class NodeOptions:
    """What a node offers.

    server_ports: tried in order for the servers; empty: any free ones.
    open_files: how many a client's processes may have open; 0: as many as this one.
    hours: of service; None: always.
    serve: how many clients, after which it ends; 0: no bound.
    zombie_period_s: after which a client that runs nothing is closed; 0: never.
    pulse_intervals: seconds, the least and the most that clients may ask for.
    resources: what its operator says it has, by name.
    processes: the file in which it notes its processes, if it does.
    commands: whether they are read from standard input.
    client_user: as whom clients' tasks run; None: as the node.
    env: names of variables of the environment that clients' tasks have in any case.
    orphan_max_s: for which the servers of a client that may return go on at most after its program was lost.
    own_max: how many processes of single tasks a client may have here at once; None: by the number of servers.
    first: a zygote that has begun already, if so.
    limits: of what a client may use.
    groups: in which its processes are, so that the system bounds them together; None: in none.
    disk_reserve: bytes that stay free on the disk when files come; None: a small part of it.
    log_output: what a client's code prints is logged; else it is printed where this process prints.
    """

    cpus: int
    server_ports: Sequence[int] = ()
    dest_path: Path | None = None
    peers: Sequence[Location] = ()
    debug: bool = False
    open_files: int = 0
    hours: Hours | None = None
    serve: int = 0
    zombie_period_s: float = 0.0
    orphan_max_s: float = ORPHAN_MAX_S
    pulse_intervals: tuple[float, float] = (10.0, 100.0)
    resources: dict[str, float] = field(default_factory=dict)
    processes: ProcessFile | None = None
    commands: bool = False
    client_user: ClientUser | None = None
    env: Sequence[str] = ()
    own_max: int | None = None
    first: birth.Newborn | None = None
    log_output: bool = True
    limits: Limits = field(default_factory=Limits)
    groups: Groups | None = None
    disk_reserve: int | None = None
    on_stop: list[Any] = field(default_factory=list)


def count_cpus(asked: int) -> int:
    """How many servers `-c asked` means on this machine.  Raises: ConfigError if that is none, or too many."""
    have = usable_processors()
    if asked > SERVERS_MAX:
        raise ConfigError(f"-c {asked}: a node has at most {SERVERS_MAX} servers; it may use {have} processors here")
    if asked > 0:
        return asked
    if have + asked < 1:
        raise ConfigError(f"-c {asked} leaves none of the {have} processors that it may use here")
    return have + asked


def bound_own(asked: int | None, cpus: int) -> int:
    """How many processes of single tasks `--own_max asked` means; None: so many as fit the servers.

    Raises: ConfigError.
    """
    if asked is None:
        return min(OWN_PER_SERVER * cpus, OWN_MAX)
    if not 0 <= asked <= OWN_MAX:
        raise ConfigError(f"--own_max {asked}: give a number from 0, for none, to {OWN_MAX}")
    return asked
