#!/usr/bin/env python3
"""Data in memory at each node: loaded once, by a setup of the node, and shared by all its servers.

    parkcosnode.py               on one machine or more, not on Windows; then, on any machine:
    python client9_node.py       or, without any node:  python client9_node.py --local

Nodes are disabled until the status task enables each with the name of the file that it is to load, which is sent to
that node only; whatever is given to `enable_node` is what `node_setup` gets.
"""

import os
import tempfile
from pathlib import Path

from _options import use_cluster

from parkcos import Client, MonitorStatus, NodeAllocate, Parkcos, Scheduler, Task, run

FILES = {"north.txt": [3.5, 2.0, 4.5, 1.0], "south.txt": [17.0, 21.5, 19.0, 18.5]}
QUERIES = ["coldest", "warmest", "mean"] * 2

# At a node these are set by the function below; its servers begin with what it has set.
name, data, loaded_by = "", [], 0


def load(file):
    """Runs at a node, before its servers are there.  Its folder is where files of its client are; it has no network."""
    global name, data, loaded_by
    name, loaded_by = file, os.getpid()
    data = [float(line) for line in Path(file).read_text().split()]
    yield
    return 0  # the node is ready; otherwise it is not used


def compute(query):
    """Runs at a server: finds the data in memory."""
    yield
    answer = min(data) if query == "coldest" else max(data) if query == "warmest" else sum(data) / len(data)
    return f"{query} of {name}: {answer}; process {os.getpid()} has what {loaded_by} has loaded"


class NotWindows(NodeAllocate):
    """Windows has no `fork`, so there a node's setup has nothing to share with its servers."""

    def allocate(self, ip_addr, name, platform, cpus, memory, disk):
        """Called here, for each node: how many of its processors to use."""
        return 0 if platform.startswith("Windows") else cpus


def status(folder, task=None):
    """Runs here, as the client's status task: enables the nodes, and gives their servers work."""
    client = yield task.receive()
    queries, running, nodes = list(QUERIES), 0, 0
    while queries or running:
        message = yield task.receive()
        if isinstance(message, MonitorStatus):  # a remote task has ended, so its server is free
            running -= 1
            server = message.info.location
            print(f"{server}: {message.value}", flush=True)
        elif message.status == Scheduler.NodeDiscovered:
            file = list(FILES)[nodes % len(FILES)]
            nodes += 1
            print(f"{message.info.name} shall load {file}", flush=True)
            sent = yield Parkcos.instance().send_file(message.info.location, folder / file)
            if sent >= 0:  # otherwise the log says why not
                client.enable_node(message.info.location, file)
            continue
        elif message.status == Scheduler.ServerInitialized:
            server = message.info
        else:
            continue
        if queries:
            yield client.rtask_at(server, compute, queries.pop(0))
            running += 1


def main(folder):
    """Runs here."""
    statuses = Task(status, folder)
    with Client(
        [load, compute], nodes=[NotWindows()], status_task=statuses, node_setup=load, disable_nodes=True
    ) as client:
        statuses.send(client)
        yield client.schedule()
        yield statuses.result()


if __name__ == "__main__":
    use_cluster(__doc__)
    with tempfile.TemporaryDirectory() as made:
        for file_name, values in FILES.items():
            Path(made, file_name).write_text("\n".join(map(str, values)))
        run(main, Path(made))
