#!/usr/bin/env python3
"""The command ``parkcosnode.py``: offers this machine's processors to the cluster."""

import sys

if __name__ == "__main__":
    from parkcos.node.main import main

    sys.exit(main())
