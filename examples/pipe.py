#!/usr/bin/env python3
"""Other programs as parts of a task: what they read and write passes through without stopping other tasks.

    python pipe.py             needs no other machine; it runs `sort` and `uniq`, which every Unix has

Two tasks use one pipeline of two programs: one writes words to it, the other reads how often each came.
"""

import random
import subprocess
from subprocess import PIPE

from parkcos import AsyncPipe, Task, run

WORDS = ["alder", "birch", "cedar", "elm"]
COUNT = 200_000


def write(pipe):
    """Writes the words; `yield` waits while the pipe is full, and other tasks run meanwhile."""
    chance = random.Random(1)
    for _ in range(COUNT // 1000):
        lines = "".join(chance.choice(WORDS) + "\n" for _ in range(1000))
        yield pipe.write(lines.encode(), full=True)
    pipe.stdin.close()  # so that `sort` knows that this is all


def count_words():
    """Runs `sort | uniq -c`, and reads what it says, line by line."""
    sort = subprocess.Popen(["sort"], stdin=PIPE, stdout=PIPE)
    uniq = subprocess.Popen(["uniq", "-c"], stdin=sort.stdout, stdout=PIPE)
    with AsyncPipe(sort, uniq) as pipe:
        Task(write, pipe)
        while line := (yield pipe.readline()):
            count, word = line.decode().split()
            print(f"{word:5} came {int(count):,} times", flush=True)
        print("exit code", (yield pipe.wait(timeout=10)))


def checksum():
    """The simplest use: all input at once, all output at once."""
    with AsyncPipe(subprocess.Popen(["cksum"], stdin=PIPE, stdout=PIPE)) as pipe:
        output, _ = yield pipe.communicate("".join(WORDS).encode())
        print("checksum and length:", output.decode().strip())


def main():
    yield count_words()
    yield checksum()


if __name__ == "__main__":
    run(main)
