"""A client's spaces: groups of tasks whose definitions, or processes, do not meet those of others."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import msgspec

from parkcos.client import dispatch_events as d
from parkcos.client.nodes import Nodes
from parkcos.client.shell import RUNNING, ClientShell
from parkcos.cluster import messages as m
from parkcos.cluster.bundle import encode_bundle
from parkcos.errors import UsageError
from parkcos.net.payload import PICKLE

CLOSED = "its space is closed"
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_READ_AT_START = ("LD_", "DYLD_", "PYTHON", "PARKCOS_")
"""What environment variables begin with that are read when a process starts, or are not a client's to set."""


class Space:
    """A group of tasks whose definitions do not meet those of others: see `Client.space`.

    Attributes:
        name: as given.
        exclusive: whether it has processes of its own.
        preload, env: what these begin with.
        closed: whether it takes no more tasks.
    """

    def __init__(
        self, spaces: Spaces, number: int, name: str, preload: Sequence[str], env: Mapping[str, str], exclusive: bool
    ) -> None:
        self._spaces = spaces
        self.number = number
        self.name = name
        self.preload = tuple(preload)
        self.env = dict(env)
        self.exclusive = exclusive
        self.closed = False

    def __repr__(self) -> str:
        return f"<Space {self.name!r}{', exclusive' if self.exclusive else ''}{', closed' if self.closed else ''}>"

    def __reduce__(self) -> Any:
        raise UsageError("a Space cannot leave its program: tasks are put into it by their client")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget it, here and at the servers.  Do not yield it; any thread.

        Its tasks that have not ended are cancelled: yield their handles before.  A space that takes the name afterwards
        is another one.
        """
        self._spaces.close(self)


class Spaces:
    """One for each client.  forget: called with the number of a space of which nothing more will be packed."""

    def __init__(self, shell: ClientShell, nodes: Nodes, forget: Callable[[int], None]) -> None:
        self._shell = shell
        self._forget = forget
        self._nodes = nodes
        self._numbers = itertools.count(1).__next__
        """Of those of a client that may return, others than its earlier programs have given: see `count_from`."""
        self._by_name: dict[str, Space] = {}
        self._by_number: dict[int, Space] = {}
        shell.executes(d.OpenSpace, self._open_at)
        shell.executes(d.CloseSpace, self._close_at)

    def count_from(self, first: int) -> None:
        """The numbers of spaces are above this one."""
        self._numbers = itertools.count(first + 1).__next__

    def open(self, name: str, preload: Sequence[str], env: Mapping[str, str], exclusive: bool) -> Space:
        """What `Client.space` does."""
        _check(name, preload, env, exclusive)
        with self._shell.lock:
            known = self._by_name.get(name)
            if known is None:
                known = Space(self, self._numbers(), name, preload, env, exclusive)
                self._by_name[name] = self._by_number[known.number] = known
            elif (known.preload, known.env, known.exclusive) != (tuple(preload), dict(env), exclusive):
                raise UsageError(
                    f"space({name!r}) is there with other arguments: {known!r}; close it, or take a new name"
                )
            return known

    def find(self, space: str | Space, call: str) -> Space | None:
        """What the `space` argument of a call means; None for none.  Raises: UsageError."""
        if space == "":
            return None
        if isinstance(space, Space):
            found: Space | None = space if space._spaces is self else None
        else:
            found = self._by_name.get(space) if isinstance(space, str) else None
        if found is None:
            raise UsageError(
                f"{call}(space={space!r}): this client has no such space\n  write: client.space({space!r})"
            )
        if found.closed:
            raise UsageError(f"{call}(space={space!r}): it was closed")
        return found

    def close(self, space: Space) -> None:
        """Cancel its tasks, and have nodes and servers forget it."""
        shell = self._shell
        with shell.lock:
            if space.closed:
                return
            space.closed = True
            del self._by_name[space.name], self._by_number[space.number]
            if shell.state is not RUNNING:
                return
            for submission in list(shell.submissions.values()):
                if submission.space == space.number:
                    shell.handle(d.CancelAsked(submission.number, CLOSED))
            if space.exclusive:
                shell.handle(d.SpaceDropped(space.number))
            else:
                shell.forget_space(space.number)
        self._forget(space.number)

    def _open_at(self, effect: d.OpenSpace) -> None:
        space = self._by_number.get(effect.space)
        if space is None:  # closed by now; its processes were told to end
            return
        made = msgspec.structs.replace(
            self._nodes.bundle_at(effect.node), preload=list(space.preload), env=dict(space.env)
        )
        message = m.OpenSpace(self._shell.id, effect.space, self._shell.circle.grant_at(effect.node, effect.space))
        if (node := self._shell.machine.nodes.get(effect.node)) is not None:
            self._nodes.note(effect.node, node.cpus)
        self._shell.side.box.send(effect.node, "node", message, PICKLE, [encode_bundle(made)])

    def _close_at(self, effect: d.CloseSpace) -> None:
        self._shell.circle.space_closed(effect.node, effect.space)
        self._shell.side.box.send(effect.node, "node", m.CloseSpace(self._shell.id, effect.space))


def _check(name: Any, preload: Any, env: Any, exclusive: Any) -> None:
    if not isinstance(name, str) or not name:
        raise UsageError(f"space({name!r}): give a name, a text")
    if isinstance(preload, str) or not all(isinstance(each, str) and _MODULE.fullmatch(each) for each in preload):
        raise UsageError(f"space(preload={preload!r}): give names of modules, as  preload=['numpy', 'scipy.optimize']")
    if not isinstance(env, Mapping) or not all(isinstance(text, str) for pair in env.items() for text in pair):
        raise UsageError(f"space(env={env!r}): give environment variables, as  env={{'OMP_NUM_THREADS': '1'}}")
    for variable, value in env.items():
        if not variable or "=" in variable or "\0" in variable + value:
            raise UsageError(f"space(env=...): {variable!r} is no environment variable")
        if variable.startswith(_READ_AT_START):
            raise UsageError(
                f"space(env=...): {variable} is read when a process starts: set it where the node is started "
                "(parkcosnode.py --env)"
            )
    if (preload or env) and not exclusive:
        raise UsageError(
            "space(preload=..., env=...) are of processes of its own\n"
            f"  write: client.space({name!r}, exclusive=True, ...)"
        )
