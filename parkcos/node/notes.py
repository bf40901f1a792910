"""When a node notes its processes in their file (`processes.py`): soon after they have changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parkcos.node.program import NodeProgram

NOTE_S = 0.05
"""Processes that start together are noted together."""
NOTE_AGAIN_S = 5.0
"""Until they are noted that could not be."""


class Notes:
    """I/O thread only."""

    def __init__(self, program: NodeProgram) -> None:
        self._program = program
        self._noting = False

    def soon(self) -> None:
        """They have changed, or their file was removed."""
        if self._program.options.processes is not None and not self._noting:
            self._noting = True
            self._program.loop.call_later(NOTE_S, self._write)

    def _write(self) -> None:
        self._noting = False
        program = self._program
        if program.options.processes is not None and not program.stopped:
            noted = False
            with program.recurring.trying("noting this node's processes"):
                program.folders.keep()  # else the file would make the folder again, and nobody hear of it
                program.options.processes.write(program.processes())
                noted = True
            if not noted:
                self._noting = True
                program.loop.call_later(NOTE_AGAIN_S, self._write)
