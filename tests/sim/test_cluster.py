"""The scheduler's, nodes' and clients' machines together, in virtual time, with faults.

A failing world is repeated, with its story, by the command that its failure names.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.sim.plan import Plan, plan_of
from tests.sim.simulate import command, run_batches, simulate
from tests.sim.world import World

SHOWN = 5
ENOUGH = 3000
"""Worlds among which everything happens that may happen."""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_small_worlds(only_seed: int | None, worlds: int) -> None:
    if only_seed is not None:
        simulate(only_seed, story=True)
        return
    seen: Counter[str] = Counter()
    failures: dict[int, str] = {}
    for batch in run_batches(worlds):
        seen.update(batch.seen)
        failures.update(batch.failures)
    told = "\n".join(text for _, text in sorted(failures.items())[:SHOWN])
    commands = "\n".join(command(seed) for seed in sorted(failures)[:50])
    assert not failures, f"{len(failures)} of {worlds} worlds failed:\n{told}\nrepeat them:\n{commands}"
    if worlds < ENOUGH:
        return
    assert seen["ended"] > seen["abandoned"] > seen["refused"] > 0, f"the worlds are not what they should be: {seen}"
    for what in WHAT_HAPPENS:
        assert seen[what] >= 20, f"hardly any world has seen {what}: {seen}"


WHAT_HAPPENS = [
    "frame lost",
    "frame sent again",
    "frame that came twice",
    "cut",
    "session that one side had given up",
    "silent node heard again",
    "zombie given up",
    "crash between two effects",
    "scheduler with its journal",
    "scheduler without a journal",
    "client closed for running nothing",
    "node set up again",
    "node that failed set up again",
    "node allocated again while it closed",
    "task run again, as its options allow",
    "interrupted task to be run again",
    "word of a task that runs elsewhere by now",
    "task asked to end",
    "task that has had its time",
    "server that ended with a task that would not",
    "process of a single task",
    "process of a single task refused",
    "task in a space with processes of its own",
    "space that cannot be opened",
    "space dropped",
    "task placed by a function",
    "server accepted that has ended",
    "server accepted twice",
    "node that said that it leaves",
    "program that came back",
    "node that serves the next program",
    "task that the next program took over",
    "task that was lost before its program came back",
]


def test_the_same_seed_is_the_same_world() -> None:
    seed = next(s for s in range(7, 1000) if plan_of(s).cuts and plan_of(s).losses and plan_of(s).scheduler_dies == 1)
    first, second = simulate(seed), simulate(seed)
    assert (first.now, first.steps, first.tell()) == (second.now, second.steps, second.tell())


@pytest.mark.slow
def test_a_thousand_nodes(only_seed: int | None) -> None:
    if only_seed is not None:
        return
    plan = Plan(
        nodes=1000, clients=2, tasks_max=4000, faults=300, clients_die=False, scheduler_dies=0.0, check_every=99
    )
    world = World(14, plan)
    try:
        world.run(world.plan.fault_span_s)
        world.heal()
        world.finish()
    except Exception:
        print(world.tell())
        raise
    assert len(world.scheduler.machine.nodes) >= 1000
    ended = sum(t.outcomes == ["ended"] for t in world.tasks.values())
    assert ended > 5000, f"only {ended} tasks ended"
