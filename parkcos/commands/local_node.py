"""The start of the node of a LocalCluster: whatever keeps it from starting, or ends it, is told to its program."""

from __future__ import annotations

import contextlib
import json
import os
import sys

ERROR_CHARACTERS_MAX = 2000


def main() -> int:
    """Entry: ``start.py parkcos.commands.local_node socket_fd [--debug]``.  Returns the exit code."""
    fd = os.dup(int(sys.argv[1]))
    try:
        from parkcos.commands.node import main as node

        return node(["--local_cluster", *sys.argv[1:]])
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS_MAX]
        with contextlib.suppress(OSError):  # nobody listens any more
            os.write(fd, json.dumps({"error": reason}).encode() + b"\n")
        return 1
