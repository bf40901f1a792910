"""`python -m parkcos`: which commands there are."""

from __future__ import annotations

import sys

from parkcos.net.runtime import VERSION

HELP = f"""parkcos {VERSION}: generator tasks on many machines

  parkcosnode.py                      offer this machine's processors; run it on each machine
  parkcos.py --doctor [HOST]          find out why one machine does not see another
  parkcos.py --daemon                 run a scheduler that several client programs share
  python -m parkcos.compat PROGRAM    run a program for pycos or dispycos as it stands

Each says more with --help. A program of your own begins with  from parkcos import Client, LocalCluster, run
and needs no command:  with LocalCluster(): run(main)
"""


def main() -> int:
    """Print the help; 2 if something else was wanted."""
    wanted = sys.argv[1:]
    known = set(wanted) <= {"-h", "--help", "help", "--version"}
    print(HELP, end="", file=sys.stdout if known else sys.stderr)
    if not known:
        print(f"python -m parkcos takes no options, and not {' '.join(wanted)}: that is for a command", file=sys.stderr)
    return 0 if known else 2


if __name__ == "__main__":
    sys.exit(main())
