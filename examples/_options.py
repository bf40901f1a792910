"""The options of all examples: which cluster to use.  It is no part of what they show."""

import argparse

from parkcos import LocalCluster, Parkcos


def use_cluster(description, cpus=0, **more):
    """Read the command line: the nodes of the network (the default), or with --local a cluster on this machine.

    A program of your own needs none of this: without any call it uses the nodes of the network.
    cpus: how many servers the cluster on this machine has; 0: one for each processor.
    more: further options of the example, with their help.  Returns: their values.
    """
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--local", action="store_true", help="run on a cluster on this machine, without other nodes")
    parser.add_argument("-i", "--host", metavar="ADDR", help="own address, where the nodes reach this program")
    parser.add_argument("-u", "--udp_port", type=int, metavar="PORT", help="UDP port for discovery")
    parser.add_argument("--secret_file", metavar="FILE", help="the cluster's secret (~/.config/parkcos/secret)")
    for name, text in more.items():
        parser.add_argument(f"--{name}", help=text)
    options = vars(parser.parse_args())
    values = [options.pop(name) for name in more]
    if options.pop("local"):
        LocalCluster(cpus).start()  # it ends with the program
    else:
        Parkcos(**options)
    return values
