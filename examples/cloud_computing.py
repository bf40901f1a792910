#!/usr/bin/env python3
"""Nodes in a cloud: they have public addresses that only others know, and no broadcast comes there.

    parkcosnode.py --ext_ip_addr ec2-1-2-3-4.x.amazonaws.com --tcp_ports 9706
                                   on each instance, with its own public name; then here:
    python cloud_computing.py ec2-1-2-3-4.x.amazonaws.com ec2-5-6-7-8.x.amazonaws.com

The instances need this machine's secret (~/.config/parkcos/secret) and the ports from 9706 up open for TCP: one for
the node, one more for each server.  This machine needs no open port.  For a try on one machine:
`parkcosnode.py -i 127.0.0.1 --no_discovery`, and `python cloud_computing.py -i 127.0.0.1 127.0.0.1`.
"""

import argparse
import platform
import socket
import sys

from parkcos import Client, Location, NodeAllocate, Parkcos, run

TASKS = 4
PORT = 9706


def where_am_i(number):
    """Runs at a server in the cloud."""
    yield
    return f"task {number} ran on {socket.gethostname()}, {platform.machine()}"


def main(nodes):
    """Runs here."""
    chosen = []
    for node in nodes:
        host, _, port = node.partition(":")
        allocate = NodeAllocate(host, port=int(port or PORT))
        # The client reaches its nodes by itself.  To try each one before says which are not to be had.
        failed = yield Parkcos().peer(Location(host, allocate.port), timeout=10)
        print(f"{node} {'cannot be reached: the log says why' if failed else 'is there'}", flush=True)
        if not failed:
            chosen.append(allocate)
    if not chosen:
        return "There is no node that could be used."
    # Only nodes that are listed are used; NodeAllocate("*") would add those of the local network.
    with Client([where_am_i], nodes=chosen) as client:
        yield client.schedule()
        for number in range(TASKS):
            rtask = yield client.rtask(where_am_i, number)
            print(f"{(yield rtask.result())}, by way of {rtask.location}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("nodes", nargs="+", metavar="NODE", help="public name or address of a node; NODE:PORT")
    parser.add_argument("-i", "--host", metavar="ADDR", help="own address")
    parser.add_argument("--tcp_port", type=int, default=0, metavar="PORT", help="own port, if a firewall forwards one")
    parser.add_argument("--secret_file", metavar="FILE", help="the cluster's secret (~/.config/parkcos/secret)")
    options = parser.parse_args()
    Parkcos(options.host, options.tcp_port, secret_file=options.secret_file, discover_peers=False)
    sys.exit(run(main, options.nodes))
