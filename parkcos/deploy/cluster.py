"""Nodes that a program starts, watches and ends: what is the same whatever they are started with, and wherever."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from abc import ABC, abstractmethod
from concurrent.futures import Future, wait
from functools import partial
from typing import Self

from parkcos.client.side import ClientSide
from parkcos.errors import ParkcosError, UsageError
from parkcos.kernel import cur_task
from parkcos.net.location import Location
from parkcos.net.runtime import Parkcos

logger = logging.getLogger("parkcos")

CLOSE_S = 30.0
"""The time in which nodes that are closed are gone, or have been killed."""


class StartedNode(ABC):
    """A node that a cluster has started.  Those who derive from this say `_listens` and `_is_gone`, in the I/O thread.

    Args:
        cluster: which one, in words, as "the LocalCluster".

    location: where it listens, when it does; or ParkcosError, if it did not start.
    ended: how it has ended, in words, when nothing of it is left.
    """

    def __init__(self, cluster: str) -> None:
        self.location: Future[Location] = Future()
        self.ended: Future[str] = Future()
        self._cluster = cluster
        self._closing = False

    def close(self) -> None:
        """End it, whether it has started or not; does not wait, `ended` says when it is gone.  Any thread."""
        self._closing = True
        self._close()

    @abstractmethod
    def _close(self) -> None:
        """Have it end; after a while it is killed.  Nothing if it has ended."""

    def _listens(self, location: Location) -> None:
        self.location.set_result(location)

    def _is_gone(self, why: str) -> None:
        """why: in words."""
        how = "has ended" if self.location.done() else "did not start"
        reason = f"{self._cluster} was closed" if self._closing else f"the node of {self._cluster} {how}: {why}"
        if not self.location.done():
            self.location.set_exception(ParkcosError(reason))
        self.ended.set_result(reason)


class Cluster(ABC):
    """Nodes that this program starts, and whose servers its clients use; those who derive from this start one.

    Use it as a context manager, from a plain script, in a task, or with ``async with``; clients that are scheduled
    inside run their tasks there.  Nothing of it is left when the block ends.

    Args:
        count: nodes to begin with.
    """

    def __init__(self, count: int) -> None:
        self.nodes: list[StartedNode] = []
        """Those that are there, or starting."""
        self._count = count
        self._side: ClientSide | None = None
        self._started_by = 0

    @abstractmethod
    def _launch(self) -> StartedNode:
        """Start one node; does not wait for it."""

    @property
    def _called(self) -> str:
        return f"the {type(self).__name__}"

    def start(self) -> None:
        """Start the nodes; does not wait for them (a client does, and is told if they cannot be started).

        Raises: UsageError if it has been started already.
        """
        if self._started_by:
            raise UsageError(f"this {type(self).__name__} has been started already")
        self._started_by = os.getpid()
        try:
            self.scale(self._count)
            self._have_side().private_scheduler()
        except BaseException:
            self.close()
            raise
        Parkcos.instance().atexit(0, self.close)

    def _have_side(self) -> ClientSide:
        self._side = self._side or ClientSide.of(Parkcos.instance().network)
        return self._side

    def start_node(self) -> StartedNode:
        """Start one node more; does not wait for it.  Raises: UsageError if the cluster was not started."""
        self._must_run()
        node = self._launch()
        self.nodes.append(node)
        side = self._have_side()
        side.failures.pop(self, None)
        node.location.add_done_callback(partial(self._located, side, node))
        node.ended.add_done_callback(partial(self._lost, side, node))
        return node

    def scale(self, count: int) -> None:
        """Have `count` nodes: start what is missing, without waiting for it, or close the youngest, and wait for that.

        What runs at a node that is closed is abandoned, or run again elsewhere, as its options say.

        Raises: UsageError if the cluster was not started, or that is no number of nodes.
        """
        if not isinstance(count, int) or count < 0:
            raise UsageError(f"scale({count!r}): give the number of nodes")
        self._must_run()
        while len(self.nodes) < count:
            self.start_node()
        surplus = self.nodes[count:]
        for node in surplus:
            with contextlib.suppress(ValueError):  # it has just ended by itself
                self.nodes.remove(node)
        _close(self._have_side(), surplus)

    def close(self) -> None:
        """End the nodes and their servers, and wait until they are gone."""
        started_by, self._started_by = self._started_by, 0
        side, self._side = self._side, None
        if side is None or started_by != os.getpid():  # a child that was forked has copies of all this
            return
        nodes, self.nodes = self.nodes, []
        _close(side, nodes)
        side.failures.pop(self, None)
        side.lose_cluster(f"{self._called} was closed")

    def _must_run(self) -> None:
        if not self._started_by:
            name = type(self).__name__
            raise UsageError(f"the {name} was not started\n  write: with {name}(...) as cluster: ...")

    def _located(self, side: ClientSide, node: StartedNode, location: Future[Location]) -> None:
        if location.exception() is None and not node._closing:
            side.add_contact(location.result())

    def _lost(self, side: ClientSide, node: StartedNode, ended: Future[str]) -> None:
        """It has ended.  If nobody wanted that, and it was the last one, whoever waits for the cluster is told."""
        _drop_contact(side, node)
        try:
            self.nodes.remove(node)
        except ValueError:  # it was closed
            return
        if self.nodes:
            logger.error("%s", ended.result())
        else:
            side.cluster_failed(self, ended.result())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        self.start()
        if cur_task() is None:  # in somebody else's event loop
            nodes = self.nodes.copy()
            try:
                await asyncio.to_thread(lambda: [node.location.result() for node in nodes])
            except BaseException:  # nobody will leave what was not entered
                await asyncio.to_thread(self.close)
                raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        if cur_task() is not None:
            self.close()
        else:
            await asyncio.to_thread(self.close)


def _close(side: ClientSide, nodes: list[StartedNode]) -> None:
    for node in nodes:
        _drop_contact(side, node)
        node.close()
    left = wait([node.ended for node in nodes], CLOSE_S).not_done
    if left:
        logger.error("%d nodes did not end within %g s, and may still be there", len(left), CLOSE_S)


def _drop_contact(side: ClientSide, node: StartedNode) -> None:
    if node.location.done() and node.location.exception() is None:
        side.drop_contact(node.location.result())
