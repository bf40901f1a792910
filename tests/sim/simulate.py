"""Run worlds, in this process or in several, and name those that fail by their seed."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tests.sim.plan import plan_of
from tests.sim.world import World

PROCESSES = 2
BATCH = 50


@dataclass
class Batch:
    """What became of some worlds."""

    seen: Counter[str] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)
    """The last lines of the traceback, by seed."""


def command(seed: int) -> str:
    """What repeats a world, and tells its story."""
    return f"python -m pytest tests/sim/test_cluster.py -k small_worlds --seed {seed}"


def simulate(seed: int, story: bool = False) -> World:
    """One world from its beginning to its end.  Raises: whatever a machine or an invariant has to say."""
    world = World(seed, plan_of(seed))
    try:
        world.run(world.plan.fault_span_s)
        world.heal()
        world.finish()
    except Exception as error:
        if story:
            print(world.plan)
            print(world.tell())
        error.add_note(f"at {world.now:.4f} s; repeat it:  {command(seed)}")
        raise
    return world


def run_batch(seeds: range) -> Batch:
    """The worlds of these seeds."""
    batch = Batch()
    for seed in seeds:
        try:
            world = simulate(seed)
        except Exception as error:
            lines = traceback.format_exception(error, limit=-3)
            batch.failures[seed] = "".join(lines)
        else:
            batch.seen.update(world.seen())
    return batch


def run_batches(count: int) -> Iterator[Batch]:
    """So many worlds, in two processes."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(PROCESSES, os.cpu_count() or 1), context) as pool:
        yield from pool.map(run_batch, [range(at, min(at + BATCH, count)) for at in range(0, count, BATCH)])
