#!/usr/bin/env python3
"""Another program at remote servers: this program's messages are its input, its output comes back as messages.

    parkcosnode.py             on one machine or more; then, on any machine:
    python client5.py          or, without any node:  python client5.py --local

The other program, client5_proc.py, knows nothing of parkcos: it reads numbers and writes their prime factors.
"""

import os
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

from _options import use_cluster

from parkcos import AsyncPipe, Client, Task, run

NUMBERS = range(10_000_000, 10_000_040)


def feed(pipe, task=None):
    """Runs at a server: what this task is sent is the program's input, until None."""
    while (number := (yield task.receive())) is not None:
        yield pipe.write(b"%d\n" % number, full=True)
    pipe.stdin.close()  # the program sees the end of its input, and ends


def factorize(reader, task=None):
    """Runs at a server: starts the program; what it writes is sent to `reader`, line by line."""
    program = subprocess.Popen([sys.executable, "../client5_proc.py"], stdin=PIPE, stdout=PIPE)
    with AsyncPipe(program) as pipe:
        # Two tasks, one for each direction: neither the program nor this server ever waits for the other in vain.
        reader.send(Task(feed, pipe))
        while line := (yield pipe.readline()):
            reader.send(line.decode().strip())
        return (yield pipe.wait(timeout=10))


def converse(client, numbers, task=None):
    """Runs here, once for each run of the program: sends numbers, and prints what comes back meanwhile."""
    rtask = yield client.rtask(factorize, task)
    feeder = yield task.receive()
    for number in numbers:
        feeder.send(number)
    feeder.send(None)
    for _ in numbers:
        print((yield task.receive()), flush=True)
    print(f"The program at {rtask.location} has ended with exit code {(yield rtask.result())}.", flush=True)


def main():
    """Runs here: the program runs twice, at once if there are two servers."""
    with Client([factorize, feed, "client5_proc.py"]) as client:
        yield client.schedule()
        for task in [Task(converse, client, NUMBERS[first::2]) for first in (0, 1)]:
            yield task.result()


if __name__ == "__main__":
    use_cluster(__doc__)
    os.chdir(Path(__file__).parent)  # a component keeps its path below the current directory
    run(main)
