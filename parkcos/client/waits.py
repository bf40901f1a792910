"""Waits of the program for servers, or for room: each ends when the machine has what it waits for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from parkcos.client.dispatch import Dispatch
from parkcos.client.room import Room, open_servers, room
from parkcos.errors import ScheduleError
from parkcos.kernel import Completion, Kernel


class Waits:
    """Of one client.

    Args:
        machine, lock: the client's.
        shown: how messages call the client.
    """

    def __init__(
        self, machine: Dispatch, lock: contextlib.AbstractContextManager[Any], shown: Callable[[], str]
    ) -> None:
        self._machine = machine
        self._lock = lock
        self._shown = shown
        self.for_servers: dict[Completion[int], int] = {}
        """How many servers each caller of `wait_for_servers` waits for."""
        self.for_room: dict[Completion[Room], tuple[str, Room]] = {}
        """What each caller of `room_changes` asked about, and the room that it knows."""

    def until_servers(self, kernel: Kernel, n: int, limit_s: float | None) -> Completion[int]:
        """How many are ready, when that is `n`; None when the time is over.  Raises: ScheduleError if none comes."""

        def start(completion: Completion[int]) -> None:
            with self._lock:
                self.for_servers[completion] = n
                self._look_for_servers()

        def give_up() -> None:
            self.for_servers.pop(waits, None)

        waits = Completion(kernel, "wait_for_servers", start, limit_s, None, give_up)
        return waits

    def until_room_changes(self, kernel: Kernel, kind: str, known: Room, limit_s: float | None) -> Completion[Room]:
        """The room for this kind of tasks when it is not `known`, or the client closes, or the time is over."""

        def start(completion: Completion[Room]) -> None:
            with self._lock:
                self.for_room[completion] = kind, known
                self._look_for_room()

        def give_up() -> None:
            self.for_room.pop(waits, None)

        waits = Completion(kernel, "room_changes", start, limit_s, known, give_up)
        return waits

    def look(self) -> None:
        """The machine was told something: tell those whose wait is over.  With the lock."""
        if self.for_servers:
            self._look_for_servers()
        if self.for_room:
            self._look_for_room()

    def _look_for_servers(self) -> None:
        count, machine = len(open_servers(self._machine)), self._machine
        why_none = "it is being closed" if machine.stage.closing else machine.none_comes()
        for completion, wanted in list(self.for_servers.items()):
            if count >= wanted:
                completion.set_result(count)
            elif why_none:
                completion.set_exception(ScheduleError(f"{self._shown()} has {count} of {wanted} servers: {why_none}"))
            else:
                continue
            self.for_servers.pop(completion, None)

    def _look_for_room(self) -> None:
        for completion, (kind, known) in list(self.for_room.items()):
            found = room(self._machine, kind)
            if found != known or self._machine.stage.closing:
                completion.set_result(found)
                self.for_room.pop(completion, None)
