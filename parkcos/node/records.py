"""What the node machine knows: of each server, and of each space of its client's."""

from __future__ import annotations

import msgspec

FREE, RESERVED, SETUP, SERVING, CLOSING, WIPING, STOPPED = (
    "free",
    "reserved",
    "setup",
    "serving",
    "closing",
    "wiping",
    "stopped",
)
"""The phases of a node."""

OPENING, OPEN, ENDING = "opening", "open", "ending"
"""The states of a space: its zygote is at its setup; servers are forked from it; it is to end, or has failed."""


class ServerRecord(msgspec.Struct):
    index: int
    started_at: float
    incarnation: int = 0
    """0 until it listens."""
    port: int = 0
    alive: bool = True
    asked: bool = False
    """Somebody wanted it to end."""
    terminated: bool = False
    """Somebody wanted it to end at once."""
    killed: bool = False
    """This node has killed it."""
    exceeded: str = ""
    """This node has killed it because of what it used."""
    restart: bool = True
    kill_at: float | None = None
    fork_at: float | None = None
    quick_ends: int = 0
    own: int = 0
    """The client's number for a process beside the servers, whose place no other takes."""
    niceness: int = 0
    space: int = 0
    """From whose zygote it is forked; 0: from the client's own."""
    forked: bool = True
    """It is being started, or was; else it waits for its space to be open."""


class SpaceRecord(msgspec.Struct):
    """A space with a zygote of its own, from when that is asked for until it has ended."""

    state: str = OPENING
    closed: bool = False
    """Its zygote was told to end."""
    error: str = ""
    """Why it could not be opened."""
    setup: bool = False
    """That is because of the client's code."""
