"""The options of all examples: which cluster to use.  It is no part of what they show."""

import argparse

from parkcos import LocalCluster, Parkcos


def use_cluster(description):
    """Read the command line: the nodes of the network (the default), or with --local a cluster on this machine.

    A program of your own needs none of this: without any call it uses the nodes of the network.
    """
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--local", action="store_true", help="run on a cluster on this machine, without other nodes")
    parser.add_argument("-i", "--host", metavar="ADDR", help="own address, where the nodes reach this program")
    parser.add_argument("-u", "--udp_port", type=int, metavar="PORT", help="UDP port for discovery")
    parser.add_argument("--secret_file", metavar="FILE", help="the cluster's secret (~/.config/parkcos/secret)")
    options = vars(parser.parse_args())
    if options.pop("local"):
        LocalCluster().start()  # it ends with the program
    else:
        Parkcos(**options)
