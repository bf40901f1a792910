"""The random numbers of servers, which are forked from one process: different ones at each, or those of a task's seed.

What is meant are the generators that a whole process shares: those of `random`, `numpy.random` and torch.  Generators
that a client's code makes in its node_setup are its own affair.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import random
import struct
import sys
from collections.abc import Sequence


def load() -> None:
    """Before the fork, for tasks with seeds: numpy, where there is one, is there when the first of them is seeded."""
    with contextlib.suppress(ImportError):
        importlib.import_module("numpy.random")


def scatter() -> None:
    """After a fork: draw other numbers than the process from which this one was forked, and its other children."""
    random.seed()
    if (numpy := sys.modules.get("numpy.random")) is not None:
        numpy.seed()
    if (torch := sys.modules.get("torch")) is not None:
        torch.seed()


def seed(numbers: Sequence[int]) -> None:
    """Draw the numbers that follow from these, and from nothing else."""
    digest = hashlib.sha256(repr(list(numbers)).encode()).digest()
    random.seed(digest)
    if (numpy := sys.modules.get("numpy.random")) is not None:
        numpy.seed(struct.unpack("<8I", digest))
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(int.from_bytes(digest[:7]))
