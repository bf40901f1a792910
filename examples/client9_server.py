#!/usr/bin/env python3
"""Data in memory at each server: every server is sent a file of its own, and loads it before its first task.

    parkcosnode.py               on one machine or more; then, on any machine:
    python client9_server.py     or, without any node:  python client9_server.py --local

Servers are disabled until the status task enables each with the name of the file that it was sent; whatever is given
there is what `server_setup` gets.  In client9_node.py it is the nodes that load data.
"""

import tempfile
from pathlib import Path

from _options import use_cluster

from parkcos import Client, MonitorStatus, Parkcos, Scheduler, Task, run

TEXTS = {
    "sea.txt": "the sea was calm and the ship lay in the calm of the sea until the sea rose",
    "wood.txt": "in the wood a fox and a crow spoke of cheese and the crow sang and the cheese fell",
}
WORDS = ["sea", "crow", "the", "cheese"] * 2

name, data = "", []  # at a server these are set by the function below


def load(file):
    """Runs at a server, before its tasks.  Its folder is where files arrive that it is sent."""
    global name, data
    name = file
    data = Path(file).read_text().split()
    yield
    return 0  # the server is ready; otherwise it is not used


def count(word):
    """Runs at a server: finds the data in memory."""
    yield
    return f"{word} comes {data.count(word)} times in {name}"


def status(task=None):
    """Runs here, as the client's status task: enables the servers, and gives them work."""
    client, folder = yield task.receive()
    words, running, servers = list(WORDS), 0, 0
    while words or running:
        message = yield task.receive()
        if isinstance(message, MonitorStatus):  # a remote task has ended, so its server is free
            running -= 1
            server = message.info.location
            print(f"{server}: {message.value}", flush=True)
        elif message.status == Scheduler.ServerDiscovered:
            file = list(TEXTS)[servers % len(TEXTS)]
            servers += 1
            if (yield Parkcos().send_file(message.info, folder / file)):
                raise OSError(f"{file} could not be sent; the log says why")
            print(f"{message.info} shall load {file}", flush=True)
            client.enable_server(message.info, file)
            continue
        elif message.status == Scheduler.ServerInitialized:
            server = message.info
        else:
            continue
        if words:
            yield client.rtask_at(server, count, words.pop(0))
            running += 1


def main(folder):
    """Runs here."""
    statuses = Task(status)
    with Client([load, count], status_task=statuses, server_setup=load, disable_servers=True) as client:
        statuses.send((client, folder))
        yield client.schedule()
        yield statuses.result()


if __name__ == "__main__":
    use_cluster(__doc__, cpus=len(TEXTS))
    with tempfile.TemporaryDirectory() as made:
        for file_name, text in TEXTS.items():
            Path(made, file_name).write_text(text)
        run(main, Path(made))
