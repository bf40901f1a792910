#!/usr/bin/env python3
"""A dashboard for browsers: what the cluster does for this program, and buttons for its nodes, servers and tasks.

    parkcosnode.py             on one machine or more; then, on any machine:
    python httpd1.py           or, without any node:  python httpd1.py --local

Open the address that the program writes when it starts.  One of the tasks fails: the page shows which, and why.
It needs aiohttp: pip install 'parkcos[httpd]'.
"""

import random

from _options import use_cluster

from parkcos import Client, Task
from parkcos.httpd import HTTPServer


def compute(number, seconds, task=None):
    """Runs at a server."""
    print(f"number {number} takes {seconds:.1f} s", flush=True)  # the page of its server shows this
    yield task.sleep(seconds)
    if number == 3:
        raise ValueError(f"{number} is an unlucky number")
    return number**2


def main(client, count, longest):
    """Runs here."""
    yield client.schedule()
    rtasks = []
    for number in range(1, count + 1):
        rtasks.append((yield client.rtask(compute, number, random.uniform(longest / 2, longest))))
    for number, rtask in enumerate(rtasks, 1):
        result = yield rtask.finish()
        print(f"{number}: {result if isinstance(result, int) else 'failed'}", flush=True)
    yield client.close()


if __name__ == "__main__":
    options = {
        "port": "its port (8181 or the next free one)",
        "tasks": "how many (30)",
        "longest": "seconds of a task (10)",
    }
    port, tasks, longest = use_cluster(__doc__, **options)
    client = Client([compute])
    http = HTTPServer(client, port=int(port) if port else None)
    task = Task(main, client, int(tasks or 30), float(longest or 10))
    task.future().result()  # wait in this thread, which is no task
    http.shutdown()  # when all browsers have seen the end
