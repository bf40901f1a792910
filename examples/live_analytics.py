#!/usr/bin/env python3
"""A stream of data to remote tasks that analyse it as it comes; what they find comes back while it goes on.

    parkcosnode.py             on one machine or more; then, on any machine:
    python live_analytics.py   or, without any node:  python live_analytics.py --local

A sensor's readings go into a channel.  Two remote tasks subscribe to it: one looks for readings that are far from
those before them, the other one says now and then how all readings are distributed.
"""

import random
import statistics
from collections import deque

from _options import use_cluster

from parkcos import Channel, Client, Task, run

READINGS = 5_000
FAULTS = {1_234: 35.0, 2_345: 4.5, 4_321: 40.0}


def sensor():
    """Used here: the readings, and when they were made."""
    chance = random.Random(1)
    for time in range(1, READINGS + 1):
        yield time, FAULTS.get(time) or chance.gauss(20, 1)


def watch(stream, report, task=None):
    """Runs at a server: reports each reading that is far from the mean of the last ones."""
    yield stream.subscribe(task)
    recent = deque(maxlen=100)
    while (reading := (yield task.receive())) is not None:
        time, value = reading
        mean = sum(recent) / len(recent) if recent else value
        if abs(value - mean) > 8:
            report.send(f"watch: {value:.1f} at {time}, where {mean:.0f} was to be expected")
        recent.append(value)
    return "watch has ended"


def summarize(stream, report, task=None):
    """Runs at a server: says after each thousand readings what they are like."""
    yield stream.subscribe(task)
    values = []
    while (reading := (yield task.receive())) is not None:
        values.append(reading[1])
        if len(values) % 1000 == 0:
            mean, deviation = statistics.fmean(values), statistics.stdev(values)
            report.send(f"summary of {len(values)} readings: {mean:.2f} ± {deviation:.2f}")
    return "summary has ended"


def show(task=None):
    """Runs here: prints what the remote tasks report."""
    task.set_daemon()  # the program does not wait for this task
    while True:
        print((yield task.receive()), flush=True)


def main():
    """Runs here: the source of the stream."""
    with Client([watch, summarize]) as client:
        yield client.schedule()
        stream, report = Channel("readings"), Task(show)
        stream.register()  # so that others can subscribe to it
        rtasks = []
        for function in (watch, summarize):
            rtasks.append((yield client.io_rtask(function, stream, report)))
        for number, reading in enumerate(sensor()):
            if number % 500:
                stream.send(reading)  # does not wait
            else:
                yield stream.deliver(reading, n=2)  # waits for two subscribers, and until they have come so far
        stream.send(None)
        for rtask in rtasks:
            report.send(f"{(yield rtask.result())}, at {rtask.location}")


if __name__ == "__main__":
    use_cluster(__doc__)
    run(main)
