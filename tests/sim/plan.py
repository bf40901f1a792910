"""What the worlds are like: most of them small, all of them different."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """What a world is like.  Times in seconds."""

    nodes: int = 8
    cpus_max: int = 3
    clients: int = 3
    tasks_max: int = 30
    delay_s: float = 0.001
    spikes: float = 0.01
    """The share of frames that take up to 3 s."""
    losses: float = 0.0
    """The share of frames that are lost, with the connection that carried them."""
    doubles: float = 0.0
    """The share of frames that come twice."""
    cuts: int = 0
    """How often some of the hosts do not reach others for a while."""
    patience_s: float = 75.0
    """A client and what serves it give each other up after such a silence; all others after 75 s."""
    slow_nodes: float = 0.1
    short_tasks: float = 0.5
    """The share of clients whose tasks take milliseconds."""
    pace_s: float = 1.0
    """Mean time between two bursts of tasks."""
    faults: int = 6
    favoured: str = ""
    """What most of the faults are; "": there is no such thing."""
    fault_span_s: float = 20.0
    clients_die: bool = True
    scheduler_dies: float = 0.2
    journal: bool = True
    """A scheduler that is started again has the queue as it was."""
    zombie_period_s: float = 0.0
    setup_fails: float = 0.05
    stubborn: float = 0.1
    """The share of tasks that do not heed KeyboardInterrupt."""
    controls: int = 0
    """How many things each client's program asks for: suspend, close, restart, ..."""
    abandon: float = 0.0
    """The share of clients that abandon zombie nodes."""
    disabled: float = 0.0
    """The share of clients whose nodes or servers wait until they are enabled."""
    fresh_s: float = 0.0
    """How long after the healing there are two more nodes, for clients that cannot use the others."""
    check_every: int = 1
    own: float = 0.0
    """The share of tasks that have a process for themselves."""
    spaces: float = 0.0
    """The share of tasks in spaces with processes of their own."""
    chosen: float = 0.0
    """The share of tasks that are placed by a function of the program."""
    returns: float = 0.0
    """The share of programs that, when they are lost, are followed by another run of them."""


def plan_of(seed: int) -> Plan:
    """The plan of the world of this number."""
    rng = random.Random(f"plan {seed}")
    large = rng.random() < 0.04
    cuts = rng.choice([0, 0, 1, 2, 4, 8])
    span_s = rng.choice([20.0, 100.0, 300.0, 600.0]) if cuts else 20.0
    return Plan(
        nodes=rng.randrange(6, 21) if large else rng.choice([2, 2, 3, 3, 4, 5, 6]),
        cpus_max=rng.choice([1, 3, 8]) if large else rng.choice([1, 2, 3]),
        clients=rng.randrange(2, 6) if large else rng.choice([1, 1, 2, 2, 3]),
        tasks_max=60 if large else rng.choice([3, 5, 10, 20, 40]),
        delay_s=rng.choice([0.0002, 0.001, 0.02]),
        spikes=rng.choice([0.0, 0.01, 0.1]),
        losses=rng.choice([0.0, 0.0, 0.002, 0.01, 0.05]),
        doubles=rng.choice([0.0, 0.0, 0.02, 0.2]),
        cuts=cuts,
        patience_s=rng.choice([75.0, 75.0, 250.0]),
        short_tasks=rng.choice([0.0, 0.2, 0.5]),
        faults=rng.choice([0, 2, 4, 8, 16, 32]),
        favoured=rng.choice([""] * 6 + ["server", "node", "zygote", "zygote", "end_node"]),
        fault_span_s=span_s,
        pace_s=max(1.0, span_s / 30),
        scheduler_dies=rng.choice([0.0, 0.3, 1.0]),
        journal=rng.random() < 0.6,
        zombie_period_s=rng.choice([0.0, 0.0, 0.0, 10.0, 60.0]),
        controls=rng.choice([0, 0, 2, 6, 15]),
        abandon=rng.choice([0.0, 0.0, 0.5, 1.0]),
        disabled=rng.choice([0.0, 0.0, 0.0, 0.5]),
        fresh_s=rng.choice([0.0, 250.0]),
        check_every=rng.choice([1, 1, 7]),
        own=rng.choice([0.0, 0.0, 0.1, 0.5]),
        spaces=rng.choice([0.0, 0.0, 0.2, 0.8]),
        chosen=rng.choice([0.0, 0.1, 0.5]),
        returns=rng.choice([0.0, 0.0, 0.7, 1.0]),
    )
