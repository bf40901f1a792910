#!/usr/bin/env python3
"""Messages with objects of this program's own class, to remote tasks and back.

    parkcosnode.py             on one machine or more; then, on any machine:
    python client3.py          or, without any node:  python client3.py --local

Walkers walk at random.  Each goes from one remote task to the other and back, by way of this program, and walks a while
at each.
"""

import math
import random

from _options import use_cluster

from parkcos import Client, run

WALKERS = 6
LEGS = 3
STEPS = 20_000  # of each leg


class Walker:
    """Has a name, a place and a source of chance of its own; all of that travels with it."""

    def __init__(self, name):
        self.name = name
        self.x = self.y = 0
        self.legs = 0
        self.chance = random.Random(name)

    def walk(self, steps):
        for _ in range(steps):
            dx, dy = self.chance.choice([(1, 0), (-1, 0), (0, 1), (0, -1)])
            self.x += dx
            self.y += dy
        self.legs += 1

    @property
    def distance(self):
        return math.hypot(self.x, self.y)


def guide(home, task=None):
    """Runs at a server: lets the walkers walk that it is sent, and sends them home; None ends it."""
    count = 0
    while (walker := (yield task.receive())) is not None:
        walker.walk(STEPS)
        home.send((task, walker))
        count += 1
    return count


def main(task=None):
    """Runs here: `task` is its own Task, to which the remote tasks send."""
    with Client([guide, Walker]) as client:
        yield client.schedule()
        guides = []
        for _ in range(2):
            # io_rtask: a task that mostly waits for messages; it shares its server with others.
            guides.append((yield client.io_rtask(guide, task)))

        for number in range(WALKERS):
            guides[number % len(guides)].send(Walker(f"walker {number}"))
        arrived = 0
        while arrived < WALKERS:
            sender, walker = yield task.receive()
            assert type(walker) is Walker  # of this very class
            print(f"{walker.name}: leg {walker.legs} of {LEGS}, from {sender.location}", flush=True)
            if walker.legs < LEGS:
                guides[1 - guides.index(sender)].send(walker)
            else:
                arrived += 1
                print(
                    f"{walker.name} ends at ({walker.x}, {walker.y}), {walker.distance:.1f} from its start", flush=True
                )

        for rtask in guides:
            rtask.send(None)
            print(f"{rtask.location} guided {(yield rtask.result())} walks.")


if __name__ == "__main__":
    use_cluster(__doc__)
    run(main)
