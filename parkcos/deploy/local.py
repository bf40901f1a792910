"""LocalCluster: a node and its servers on this machine, for as long as a `with` lasts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import subprocess
import time

import msgspec

from parkcos.cluster.processors import usable_processors
from parkcos.deploy.cluster import Cluster, StartedNode
from parkcos.deploy.messages import LOOPBACK, Begin, Failed, Ready, line, read_news
from parkcos.errors import UsageError
from parkcos.net.location import Location
from parkcos.net.options import NetworkOptions, new_incarnation
from parkcos.net.runtime import VERSION, Parkcos
from parkcos.net.trust.issuing import certify
from parkcos.net.trust.secret import ClusterKeys
from parkcos.node import family
from parkcos.node.as_client import FAMILY
from parkcos.node.environment import environment

logger = logging.getLogger("parkcos")

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
END_WAIT_S = 5.0
"""The time that a node which says nothing more has to end."""
_POLL_MIN_S, _POLL_MAX_S = 0.001, 0.05


class LocalCluster(Cluster):
    """A node with `cpus` server processes on this machine, which nobody but this program can use.

    It has keys of its own, whatever secret this program has, and listens at the loopback alone, wherever this program
    does: who knows that secret does not get in.

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
        super().__init__(1)
        self.cpus = cpus or usable_processors()
        self.name = name
        self.debug = debug
        self._first: StartedNode | None = None

    @property
    def location(self) -> Location:
        """Where the node listens; waits until it does.  Raises: ParkcosError if it did not start."""
        if self._first is None:
            raise UsageError("the LocalCluster was not started\n  write: with LocalCluster(cpus=2) as cluster: ...")
        return self._first.location.result(START_TIMEOUT_S + END_WAIT_S)

    def start(self) -> None:
        """Start the node; does not wait for it (a client does, and is told if it cannot be started)."""
        runtime = Parkcos.instance()
        if runtime._network is None and runtime._configured is None:
            runtime.configure(
                NetworkOptions(
                    host=LOOPBACK, keys=ClusterKeys.random(), discover=False, version=VERSION, say_address=False
                )
            )
        super().start()

    def _launch(self) -> StartedNode:
        node = LocalNode(self._called, self.cpus, self.name, self.debug)
        if not self.nodes:
            self._first = node
        return node


class LocalNode(StartedNode):
    """A node on this machine, with keys of its own; it ends with this program.  Args: as of LocalCluster."""

    def __init__(self, cluster: str, cpus: int, name: str, debug: bool) -> None:
        super().__init__(cluster)
        self._keys = ClusterKeys.random()
        self._options = cpus, name, debug
        self._control, theirs = socket.socketpair()
        self._control.setblocking(False)
        with theirs:
            self.process = subprocess.Popen(
                family.command("parkcos.commands.local_node", theirs.fileno()),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env=environment(None) | {FAMILY: family.new_mark()},
                start_new_session=True,  # Ctrl-C is for this program, which then ends the cluster
            )
        try:
            self._network = Parkcos.instance().network  # this program's own starts while the node's interpreter does
        except BaseException:
            self._control.close()
            self.process.wait()
            raise
        self._network.hub.guests.welcome(self._keys)
        self._patience: asyncio.TimerHandle | None = None
        self._following = self._network.io.run(self._follow())

    def _close(self) -> None:
        with contextlib.suppress(OSError):  # it has ended by itself
            self._control.shutdown(socket.SHUT_WR)  # which is the node's end
        self._network.io.call(self._be_patient)

    def _be_patient(self) -> None:
        if not self.ended.done():
            self._patience = self._network.io.loop.call_later(STOP_TIMEOUT_S, self._kill)

    def _kill(self) -> None:
        logger.error("the node of the local cluster did not end within %g s, and is killed", STOP_TIMEOUT_S)
        self.process.kill()

    async def _follow(self) -> None:
        """From its start to its end."""
        guests = self._network.hub.guests
        try:
            why = await self._talk()
        except Exception as error:
            logger.exception("the node of the local cluster cannot be followed")
            why = f"{type(error).__name__}: {error}"
        self._control.close()  # its end, if it has not ended
        how = await self._ending()
        if self._patience is not None:
            self._patience.cancel()
        guests.dismiss(self._keys.name)
        self._is_gone(why or how)

    async def _talk(self) -> str:
        """Say what it is to be, and hear what it says.  Returns: its last word, if it had one."""
        network, (cpus, name, debug) = self._network, self._options
        network.hub.guests.get_ready(self._keys.name)  # the node takes longer to start than this
        incarnation = new_incarnation()
        certificate = certify(self._keys, name, time.time(), ["node"], incarnation)
        begin = Begin(name, cpus, self._keys, incarnation, certificate, debug, network.options.max_payload)
        with contextlib.suppress(OSError):  # it has ended already, which is heard below
            await asyncio.get_running_loop().sock_sendall(self._control, line(begin))
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                said = await self._next_word()
        except TimeoutError:
            return f"it has not said anything for {START_TIMEOUT_S:g} s"
        if isinstance(said, Ready):
            location = Location(LOOPBACK, said.port)
            network.hub.guests.live_at([location], self._keys.name)
            self._listens(location)
            said = await self._next_word()
        return said.error if isinstance(said, Failed) else ""

    async def _next_word(self) -> Ready | Failed | None:
        """What the node says next; None when it has ended."""
        said = b""
        while not said.endswith(b"\n"):
            try:
                data = await asyncio.get_running_loop().sock_recv(self._control, 4096)
            except ConnectionError:  # it has not even read what it was told
                data = b""
            if not data:
                return None
            said += data
        try:
            return read_news(said)
        except msgspec.MsgspecError as error:
            return Failed(f"it has said what makes no sense: {error}")

    async def _ending(self) -> str:
        """Wait until it has ended, or end it.  Returns: how, in words."""
        end, delay_s = time.monotonic() + END_WAIT_S, _POLL_MIN_S
        killed = False
        while (code := self.process.poll()) is None:
            if time.monotonic() > end:
                killed = True
                self.process.kill()
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _POLL_MAX_S)
        return "it had nothing more to say" if killed else family.describe_exit(-code if code < 0 else code << 8)
