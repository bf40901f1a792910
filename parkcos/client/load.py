"""A heap of numbers by load whose entries may change: the lightest is found without looking at all of them."""

from __future__ import annotations

import heapq


class LoadHeap:
    """Who carries how much.  Among equals, who was put first is lightest."""

    def __init__(self) -> None:
        self._load: dict[int, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, int]] = []
        self._count = 0

    def put(self, number: int, load: float) -> None:
        """Set the load of `number`; it keeps its turn if that is not new."""
        known = self._load.get(number)
        if known is not None and known[0] == load:
            return
        self._count += 1
        self._load[number] = (load, self._count)
        heapq.heappush(self._heap, (load, self._count, number))
        if len(self._heap) > 64 + 4 * len(self._load):
            self._heap = [(load, count, number) for number, (load, count) in self._load.items()]
            heapq.heapify(self._heap)

    def remove(self, number: int) -> None:
        """Forget `number`; it need not be known."""
        self._load.pop(number, None)

    def lightest(self) -> int | None:
        """The number with the smallest load, None if there is none."""
        heap = self._heap
        while heap:
            load, count, number = heap[0]
            if self._load.get(number) == (load, count):
                return number
            heapq.heappop(heap)
        return None
