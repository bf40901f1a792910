#!/usr/bin/env python3
"""The command ``parkcosnode.py``: offers this machine's processors to the cluster."""

import sys

if __name__ == "__main__":
    from parkcos.commands.node import main

    sys.exit(main())
