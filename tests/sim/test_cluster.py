"""The scheduler's, nodes' and clients' machines together, in virtual time, with faults.

A failing world is repeated, with its story, by

    pytest tests/sim/test_cluster.py --seed N
"""

from __future__ import annotations

import random

import pytest

from tests.sim.world import Plan, World

SEEDS = 300
BATCH = 50


def plan_of(seed: int) -> Plan:
    rng = random.Random(f"plan {seed}")
    return Plan(
        nodes=rng.randrange(2, 21),
        cpus_max=rng.choice([1, 3, 8]),
        clients=rng.randrange(1, 5),
        tasks_max=rng.choice([5, 20, 60]),
        faults=rng.choice([0, 3, 10, 20]),
        delay_s=rng.choice([0.0002, 0.001, 0.02]),
        spikes=rng.choice([0.0, 0.01, 0.1]),
    )


def simulate(seed: int, story: bool = False) -> World:
    world = World(seed, plan_of(seed))
    try:
        world.run(world.plan.fault_span_s)
        world.heal()
        world.finish()
    except Exception as error:
        if story:
            print(world.tell())
        error.add_note(f"at {world.now:.4f} s; repeat it:  pytest tests/sim/test_cluster.py --seed {seed}")
        raise
    return world


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_small_worlds(first: int, only_seed: int | None) -> None:
    if only_seed is not None:
        if first == 0:
            simulate(only_seed, story=True)
        return
    outcomes = {"ended": 0, "refused": 0, "abandoned": 0}
    for seed in range(first, first + BATCH):
        for truth in simulate(seed).tasks.values():
            for outcome in truth.outcomes:
                outcomes[outcome] += 1
    assert outcomes["ended"] > outcomes["abandoned"] > 0, "the worlds are not what they should be"
    assert outcomes["refused"]


def test_the_same_seed_is_the_same_world() -> None:
    first, second = simulate(7), simulate(7)
    assert (first.now, first.steps, first.tell()) == (second.now, second.steps, second.tell())


@pytest.mark.slow
def test_a_thousand_nodes(only_seed: int | None) -> None:
    if only_seed is not None:
        return
    plan = Plan(
        nodes=1000, clients=2, tasks_max=4000, faults=300, clients_die=False, scheduler_dies=0.0, check_every=99
    )
    world = World(2, plan)
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
