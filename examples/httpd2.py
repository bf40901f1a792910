#!/usr/bin/env python3
"""A dashboard for browsers, in a program whose own status task is told of everything, too.

    parkcosnode.py             on one machine or more; then, on any machine:
    python httpd2.py           or, without any node:  python httpd2.py --local

As httpd1.py.  The dashboard takes the place of the client's status task, and passes on all that it is told.
"""

import random

from _options import use_cluster

from parkcos import Client, MonitorStatus, Scheduler, Task
from parkcos.httpd import HTTPServer


def compute(number, seconds, task=None):
    """Runs at a server."""
    yield task.sleep(seconds)
    return number**2


def status(task=None):
    """Runs here: says which remote tasks have ended, until the client is closed."""
    while True:
        message = yield task.receive()
        if isinstance(message, MonitorStatus):
            print(f"{message.info} has ended with {message.value}", flush=True)
        elif message.status == Scheduler.ClientClosed:
            print("all are done", flush=True)
            return


def main(client, count, longest):
    """Runs here."""
    yield client.schedule()
    rtasks = []
    for number in range(1, count + 1):
        rtasks.append((yield client.rtask(compute, number, random.uniform(longest / 2, longest))))
    for rtask in rtasks:
        yield rtask.finish()
    yield client.close()


if __name__ == "__main__":
    options = {
        "port": "its port (8181 or the next free one)",
        "tasks": "how many (30)",
        "longest": "seconds of a task (10)",
    }
    port, tasks, longest = use_cluster(__doc__, **options)
    told = Task(status)
    client = Client([compute], status_task=told)
    http = HTTPServer(client, port=int(port) if port else None, poll_sec=2)
    task = Task(main, client, int(tasks or 30), float(longest or 10))
    task.future().result()  # wait in this thread, which is no task
    told.value()
    http.shutdown()
