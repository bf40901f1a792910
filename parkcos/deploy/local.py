"""LocalCluster: a node and its servers on this machine, for as long as a `with` lasts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import time
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Self

from parkcos.client.side import ClientSide
from parkcos.cluster.processors import usable_processors
from parkcos.deploy.messages import Begin, Failed, Ready, line, read_news
from parkcos.errors import ParkcosError, UsageError
from parkcos.kernel import cur_task
from parkcos.net.location import Location
from parkcos.net.options import NetworkOptions
from parkcos.net.runtime import VERSION, Parkcos
from parkcos.net.trust.secret import ClusterKeys
from parkcos.net.trust.tls import certify
from parkcos.node import family
from parkcos.node.as_client import FAMILY
from parkcos.node.environment import environment
from parkcos.node.family import describe_exit

if TYPE_CHECKING:
    from parkcos.net.network import Network

logger = logging.getLogger("parkcos")

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
END_WAIT_S = 5.0
"""The time that a node which says nothing more has to end."""


class LocalCluster:
    """A node with `cpus` server processes on this machine, which nobody but this program can use.

    It has keys of its own, whatever secret this program has: who knows that does not get in.

    Use it as a context manager, from a plain script, in a task, or with ``async with``; clients that are scheduled
    inside run their tasks there.  Nothing of it is left when the block ends, nor when this program dies.

    Args:
        cpus: server processes; 0: one for each processor that this process may use.
        name: of the node.

    Raises: UsageError, ConfigError if it cannot be had here.
    """

    def __init__(self, cpus: int = 0, name: str = "local", *, debug: bool = False) -> None:
        if not isinstance(cpus, int) or cpus < 0:
            raise UsageError(f"LocalCluster(cpus={cpus!r}): give the number of servers, or 0 for all processors")
        self.cpus = cpus or usable_processors()
        self.name = name
        self.debug = debug
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._ready: Future[Location] | None = None

    @property
    def location(self) -> Location:
        """Where the node listens; waits until it does.  Raises: ParkcosError if it did not start."""
        if self._ready is None:
            raise UsageError("the LocalCluster was not started\n  write: with LocalCluster(cpus=2) as cluster: ...")
        return self._ready.result(START_TIMEOUT_S)

    def start(self) -> None:
        """Start the node; does not wait for it (a client does, and is told if it cannot be started)."""
        if self._process is not None:
            raise UsageError("this LocalCluster has been started already")
        runtime = Parkcos.instance()
        if runtime._network is None and runtime._configured is None:
            runtime.configure(
                NetworkOptions(
                    host="127.0.0.1", keys=ClusterKeys.random(), discover=False, version=VERSION, say_address=False
                )
            )
        network = runtime.network
        self._started_by = os.getpid()
        keys = self._keys = ClusterKeys.random()
        network.hub.guests.welcome(keys)
        theirs: socket.socket
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                family.command("parkcos.commands.local_node", theirs.fileno()),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env=environment(None) | {FAMILY: family.new_mark()},
                start_new_session=True,  # Ctrl-C is for this program, which then ends the cluster
            )
        self._side = ClientSide.of(network)
        self._side.private_scheduler()
        self._ready = Future()
        self._followed = network.io.run(self._follow(network, self._process, self._control))
        runtime.atexit(0, self.close)

    async def _follow(self, network: Network, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        """Take up the node when it is ready, and say so when it has ended and nobody wanted that."""
        assert self._ready is not None
        control.setblocking(False)
        keys, automatic = self._keys, network.options.host is None
        network.hub.guests.get_ready(keys.name)  # the node takes longer to start than this
        certificate = certify(keys, self.name, time.time())
        begin = Begin(network.own.addr, automatic, self.name, self.cpus, keys, certificate, self.debug)
        with contextlib.suppress(OSError):  # it has ended already, which is seen below
            await asyncio.get_running_loop().sock_sendall(control, line(begin))
        said: Ready | Failed | None
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                said = await _next_word(control)
        except TimeoutError:
            said = Failed(f"it has not said anything for {START_TIMEOUT_S:g} s")
        how = "did not start"
        if isinstance(said, Ready):
            location = Location(network.own.addr, said.port)
            network.hub.guests.live_at([location], self._keys.name)
            self._side.add_contact(location)
            self._ready.set_result(location)
            said = await _next_word(control)  # its last one, if any
            self._side.drop_contact(location)
            how = "has ended"
        if self._process is None:
            reason = "the LocalCluster was closed"
        else:
            why = said.error if isinstance(said, Failed) else await _ending(process)
            reason = f"the node of the LocalCluster {how}: {why}"
            self._side.cluster_failed(self, reason)
        if not self._ready.done():
            self._ready.set_exception(ParkcosError(reason))

    def close(self) -> None:
        """End the node and its servers, and wait until they are gone."""
        process, self._process = self._process, None
        if process is None or self._started_by != os.getpid():  # a child that was forked has copies of all this
            return
        assert self._control is not None and self._ready is not None
        if self._ready.done() and self._ready.exception() is None:
            self._side.drop_contact(self._ready.result())
        with contextlib.suppress(OSError):  # it has ended by itself
            self._control.shutdown(socket.SHUT_WR)  # which is the node's end
        wait([self._followed], STOP_TIMEOUT_S)  # until it has closed its own side, as the last it does
        try:
            process.wait(END_WAIT_S if self._followed.done() else 0)
        except subprocess.TimeoutExpired:
            logger.error("the node of the local cluster did not end within %g s, and is killed", STOP_TIMEOUT_S)
            process.kill()
            process.wait()
        wait([self._followed], END_WAIT_S)
        self._control.close()  # nobody reads it any more
        self._side.failures.pop(self, None)
        self._side.network.hub.guests.dismiss(self._keys.name)
        self._side.lose_cluster("the LocalCluster was closed")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        self.start()
        if cur_task() is None:  # in somebody else's event loop
            await asyncio.to_thread(lambda: self.location)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if cur_task() is not None:
            self.close()
        else:
            await asyncio.to_thread(self.close)


async def _next_word(control: socket.socket) -> Ready | Failed | None:
    """What the node says next; None when it has ended."""
    said = b""
    while not said.endswith(b"\n"):
        try:
            data = await asyncio.get_running_loop().sock_recv(control, 4096)
        except ConnectionError:  # it has not even read what it was told
            data = b""
        if not data:
            return None
        said += data
    return read_news(said)


async def _ending(process: subprocess.Popen[bytes]) -> str:
    """How the node has ended, or is about to, in words."""
    end = time.monotonic() + END_WAIT_S
    while (code := process.poll()) is None and time.monotonic() < end:
        await asyncio.sleep(0.01)
    if code is None:
        return "it has nothing more to say"
    return describe_exit(-code if code < 0 else code << 8)
