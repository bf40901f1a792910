#!/usr/bin/env python3
"""A program that may be killed and started again: its tasks go on meanwhile, and each result is taken once.

    parkcosnode.py             on one machine or more; then, on any machine:
    python restart.py          kill it, even with  kill -9,  and start it again, within two minutes

The file restart.me is its identity; restart.results is where it keeps what is safe.  To begin again, remove both.
"""

import os
import time

from _options import use_cluster

from parkcos import Client, TaskAbandoned, run

NUMBERS = range(20)


def square(n):
    """Runs at a server, and takes its time."""
    time.sleep(1)
    return n * n


def main():
    """Runs here."""
    with open("restart.results", "a+") as results, Client([square], identity="restart.me", orphan_s=120) as client:
        results.seek(0)
        done = {line.split()[0] for line in results}
        yield client.schedule()
        handles = yield client.resumed()  # what an earlier run has left: running, ended and not released, or lost
        print(f"{len(done)} results are safe, {len(handles)} tasks were left by an earlier run", flush=True)
        known = done | {handle.name for handle in handles}
        handles += [client.submit(square, n, name=str(n)) for n in NUMBERS if str(n) not in known]
        while handles:
            handle = handles.pop(0)
            try:
                value = yield handle
            except TaskAbandoned:  # it was lost with its server: once more
                handles.append(client.submit(square, int(handle.name), name=handle.name))
            else:
                if handle.name not in done:
                    done.add(handle.name)
                    print(handle.name, value, file=results, flush=True)
                    os.fsync(results.fileno())
            handle.release()  # from now on it need not be told again
        print(f"all {len(done)} results are in restart.results", flush=True)


if __name__ == "__main__":
    use_cluster(__doc__)
    run(main)
