#!/usr/bin/env python3
"""A function that one program offers, and that others find by its name and run there.

    python rps.py --serve      on one machine; then, on any machine of the network:
    python rps.py              or both on this machine:  python rps.py --local

Each call runs as a task of the program that offers the function; the caller sends it messages and gets its result.
"""

import argparse
import subprocess
import sys

from parkcos import RPS, Location, Parkcos, Task, run


def mean_of(name, task=None):
    """Runs at the program that offers it, once for each call: takes numbers as they come, until None."""
    numbers = []
    while (number := (yield task.receive())) is not None:
        numbers.append(number)
    return f"{name}: the mean of {len(numbers)} numbers is {sum(numbers) / len(numbers):.2f}"


def serve(task=None):
    """Offers the function until somebody ends this program."""
    RPS(mean_of).register()
    print(f"mean_of can be called at {Parkcos().location}", flush=True)
    yield task.receive()  # for ever; calls are served meanwhile


def call(where, task=None):
    """Calls the function twice, at once, and waits for the results."""
    rps = yield RPS.locate("mean_of", where, timeout=20)  # `where` None: at any program of the network
    if rps is None:
        sys.exit("Nobody offers mean_of: start `python rps.py --serve` first.")
    squares = yield rps("squares")
    cubes = yield rps("cubes")
    for n in range(1, 101):
        squares.send(n**2)
        cubes.send(n**3)
    for rtask in (squares, cubes):
        rtask.send(None)
        print((yield rtask.result()))
    try:
        yield rps()  # without the name
    except TypeError as error:
        print("A wrong call is an error here, and does no harm there:", str(error).partition(": ")[2])


def call_own_server():
    """Starts the other program, calls it, and ends it."""
    with subprocess.Popen([sys.executable, __file__, "--serve", "--local"], stdout=subprocess.PIPE) as server:
        where = Location.parse(server.stdout.readline().split()[-1].decode())
        try:
            run(call, where)
        finally:
            server.terminate()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--serve", action="store_true", help="offer the function")
    parser.add_argument("--local", action="store_true", help="on this machine alone: offer it and call it")
    parser.add_argument("-i", "--host", metavar="ADDR", help="own address, where the others reach this program")
    parser.add_argument("-u", "--udp_port", type=int, metavar="PORT", help="UDP port for discovery")
    parser.add_argument("--secret_file", metavar="FILE", help="the cluster's secret (~/.config/parkcos/secret)")
    options = vars(parser.parse_args())
    serves, local = options.pop("serve"), options.pop("local")
    if local:
        options = {"host": "127.0.0.1", "discover_peers": False}
    Parkcos(**options)
    if serves:
        Task(serve)
    elif local:
        call_own_server()
    else:
        run(call, None)
