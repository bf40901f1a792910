#!/usr/bin/env python3
"""Nodes in a cloud of which nothing but ssh can be reached: their ports are forwarded to this machine.

    parkcosnode.py -i 127.0.0.1 -c 2 --tcp_ports 9706 --no_discovery
                                   on the instance; then here, in one shell:
    ssh -N -L 9706:127.0.0.1:9706 -L 9707:127.0.0.1:9707 -L 9708:127.0.0.1:9708 user@ec2-1-2-3-4.x.amazonaws.com
    python ssh_ec2.py              in another one

The first port is the node's, the others are those of its servers; each has the same number at both ends.  Both sides
need the same secret (~/.config/parkcos/secret).  Where the instance's ports are open and only this machine's are not,
no ssh is needed, see cloud_computing.py.  A port of this machine can be forwarded, too: `ssh -R 4567:127.0.0.1:4567`
and `python ssh_ec2.py --tcp_port 4567`.

The computation is that of client8.py: messages to a task queue at its server while it computes.
"""

import argparse
import time

from parkcos import Client, Parkcos, Task, run

MESSAGES = 5


def compute(seconds, client_task, task=None):
    """Runs at a server: computes for so long without a yield, then looks at its messages."""
    client_task.send("it computes")
    time.sleep(seconds)
    received = []
    while (message := (yield task.receive())) is not None:
        received.append(message)
    return received


def talk(client, seconds, task=None):
    """Runs here, once for each remote task: sends it messages while it computes."""
    rtask = yield client.rtask(compute, seconds, task)
    yield task.receive()
    for number in range(1, MESSAGES + 1):
        rtask.send(f"message {number}")
    rtask.send(None)
    received = yield rtask.result()
    print(f"{rtask.location} computed for {seconds} s, and had received: {', '.join(received)}.", flush=True)


def main(node):
    """Runs here: two conversations at once, if there are two servers."""
    with Client([compute], nodes=[node]) as client:
        yield client.schedule()
        for task in [Task(talk, client, seconds) for seconds in (0.3, 0.5)]:
            yield task.result()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("node", nargs="?", default="127.0.0.1:9706", help="this end of the tunnel (127.0.0.1:9706)")
    parser.add_argument("--tcp_port", type=int, default=0, metavar="PORT", help="own port, if ssh forwards one")
    parser.add_argument("--secret_file", metavar="FILE", help="the cluster's secret (~/.config/parkcos/secret)")
    options = parser.parse_args()
    Parkcos("127.0.0.1", options.tcp_port, secret_file=options.secret_file, discover_peers=False)
    run(main, options.node)
