"""LocalCluster: a node and its servers on this machine, for as long as a `with` lasts."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import secrets
import socket
import subprocess
from concurrent.futures import Future
from typing import Any, Self

from parkcos.client.side import ClientSide
from parkcos.cluster.limits import processors
from parkcos.errors import ParkcosError, UsageError
from parkcos.kernel import cur_task
from parkcos.net.location import Location
from parkcos.net.options import NetworkOptions
from parkcos.net.runtime import VERSION, Parkcos
from parkcos.net.secret import ClusterKeys
from parkcos.node.family import command as family_command

logger = logging.getLogger("parkcos")

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0


class LocalCluster:
    """A node with `cpus` server processes on this machine, and a network on loopback that nobody else can enter.

    Use it as a context manager, from a plain script, in a task, or with ``async with``; clients that are scheduled
    inside run their tasks there.  Nothing of it is left when the block ends, nor when this program dies.

    Args:
        cpus: server processes; 0: one for each processor.
        name: of the node.

    Raises: UsageError, ConfigError if it cannot be had here.
    """

    def __init__(self, cpus: int = 0, name: str = "local", *, debug: bool = False) -> None:
        if not isinstance(cpus, int) or cpus < 0:
            raise UsageError(f"LocalCluster(cpus={cpus!r}): give the number of servers, or 0 for all processors")
        self.cpus = cpus or processors()
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
        """Start the node; does not wait for it (a client does)."""
        if self._process is not None:
            raise UsageError("this LocalCluster has been started already")
        runtime = Parkcos.instance()
        if runtime._network is None and runtime._configured is None:
            keys = ClusterKeys(secrets.token_bytes(32), secrets.token_bytes(32))
            runtime.configure(
                NetworkOptions(host="127.0.0.1", keys=keys, discover=False, version=VERSION, say_address=False)
            )
        network = runtime.network
        self._started_by = os.getpid()
        theirs: socket.socket
        self._control, theirs = socket.socketpair()
        command = family_command("parkcos.node.main", "--local_cluster", theirs.fileno())
        with theirs:
            self._process = subprocess.Popen(
                command + (["--debug"] if self.debug else []),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for this program, which then ends the cluster
            )
        chosen, certificates = network.options.keys, network.options.certificates
        config = {
            "host": network.own.addr,
            "name": self.name,
            "cpus": self.cpus,
            "ca_seed": chosen.ca_seed.hex() if chosen else "",
            "mac_key": chosen.mac_key.hex() if chosen else "",
            "certificates": dataclasses.asdict(certificates) if certificates else None,
        }
        self._control.sendall(json.dumps(config).encode() + b"\n")
        self._side = ClientSide.of(network)
        self._side.private_scheduler()
        self._ready = network.io.run(self._await_port(network))
        runtime.atexit(0, self.close)

    async def _await_port(self, network: Any) -> Location:
        control = self._control
        assert control is not None and self._process is not None
        control.setblocking(False)
        line = b""
        async with asyncio.timeout(START_TIMEOUT_S):
            while not line.endswith(b"\n"):
                data = await network.io.loop.sock_recv(control, 4096)
                if not data:
                    raise ParkcosError("the local cluster's node did not start; its error is in the log above")
                line += data
        location = Location(network.own.addr, json.loads(line)["port"])
        self._side.add_contact(location)
        return location

    def close(self) -> None:
        """End the node and its servers, and wait until they are gone."""
        process, self._process = self._process, None
        if process is None or self._started_by != os.getpid():  # a child that was forked has copies of all this
            return
        assert self._control is not None and self._ready is not None
        if self._ready.done() and self._ready.exception() is None:
            self._side.drop_contact(self._ready.result())
        with contextlib.suppress(OSError):  # it has ended by itself
            self._control.shutdown(socket.SHUT_RDWR)  # which is the node's end, and that of waiting for its port
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            logger.error("the node of the local cluster did not end within %g s, and is killed", STOP_TIMEOUT_S)
            process.kill()
            process.wait()
        with contextlib.suppress(Exception):
            self._ready.result(1.0)
        self._control.close()  # nobody reads it any more
        if not self._side.contacts and not self._side.network.options.discover:
            for client in list(self._side.clients.values()):
                client._lose_cluster("the LocalCluster was closed")

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
