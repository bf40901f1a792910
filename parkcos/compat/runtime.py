"""Pycos: the runtime of this process as pycos's programs address it, and the options that it starts with."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Self

import parkcos
from parkcos.compat import config
from parkcos.compat.exits import LaterHandlers
from parkcos.compat.extras import Struct
from parkcos.errors import ConfigError
from parkcos.kernel import Kernel, operation
from parkcos.kernel.registry import cur_task, set_default_kernel_factory
from parkcos.net.finding.lookup import known
from parkcos.net.location import Location, resolve
from parkcos.net.trust.secret_text import flaw_of

logger = logging.getLogger("parkcos")

command_line: dict[str, Any] = {}
"""Options of :class:`parkcos.Parkcos` that whoever started the program has given: they go before the program's."""

at_server = False
"""Whether this process is one in which a client's code lives: it has the network that its node gave it, or none yet."""

_networked = False


def take_over() -> None:
    """``import pycos``: from now on the first task starts what runs tasks, without a network."""
    set_default_kernel_factory(_start_kernel)


def use_network() -> None:
    """``import pycos.netpycos``: from now on the first task starts the network, with the options that it has then."""
    global _networked
    if not _networked:
        _networked = True
        set_default_kernel_factory(_start_kernel)


def _start_kernel() -> Kernel:
    runtime = parkcos.Parkcos.instance()
    if _networked:
        Pycos()
    else:  # nobody can ask for the names that tasks register
        runtime.kernel.on_register = None
    _take_exits(runtime.kernel)
    runtime.start()
    return runtime.kernel


def _take_exits(kernel: Kernel) -> None:
    """What the program registers with Python's ``atexit`` from now on is called before the wait for its tasks."""
    if kernel.before_wait is None:
        kernel.before_wait = LaterHandlers().call


def _must_be_good(secret: str) -> str:
    """Raises: ConfigError for a secret that pycos takes, and that others can guess."""
    if flaw := flaw_of(secret):
        raise ConfigError(
            f"the secret that this program gives to Pycos() {flaw}\n"
            "  write secret='' there; or run it with  python -m parkcos.compat --secret_file FILE ...\n"
            "  the command that makes the file, and says how to copy it to other machines:  parkcos.py --make_secret"
        )
    return secret


class Pycos:
    """The runtime: one of a process.  Its options count if it is made before the first Task, Channel or Client.

    Args:
        udp_port: for discovery.
        tcp_port: to listen at; None or 0: any.
        host: own address or name, or a list of them; None: found from the interfaces.
        ext_host: address that others are told, behind NAT.
        socket_family: taken and not used: `host` says it.
        ipv4_udp_multicast: discovery by multicast instead of broadcast.
        name: of this process; None: the host's.
        discover_peers: find others by broadcast, and be found.
        secret: of the cluster, at least 16 characters that nobody guesses; '': the one in ``~/.config/parkcos/secret``.
        certfile, keyfile: certificate of your own.
        notifier: taken and not used.
        dest_path: where received files go.
        max_file_size: in bytes; None or 0: no bound.
        node, ip_addr: of earlier versions: `host`.
        ext_ip_addr: of earlier versions: `ext_host`.

    Raises: ConfigError.
    """

    _instance: Pycos | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance  # type: ignore[return-value]

    def __init__(
        self,
        udp_port: int = config.NetPort,
        tcp_port: int | None = None,
        host: str | Sequence[str] | None = None,
        ext_host: str | Sequence[str] | None = None,
        socket_family: Any = None,
        ipv4_udp_multicast: bool = False,
        name: str | None = None,
        discover_peers: bool = True,
        secret: str = "",
        certfile: str | None = None,
        keyfile: str | None = None,
        notifier: Any = None,
        dest_path: str | None = None,
        max_file_size: int | None = None,
        *,
        node: str | Sequence[str] | None = None,
        ip_addr: str | Sequence[str] | None = None,
        ext_ip_addr: str | Sequence[str] | None = None,
    ) -> None:
        if at_server or parkcos.Parkcos.instance().kernel.network is not None:
            return  # as it was started
        options: dict[str, Any] = {
            "udp_port": None if udp_port == config.NetPort else udp_port,
            "tcp_port": tcp_port or 0,
            "host": host or node or ip_addr,
            "ext_ip_addr": ext_host or ext_ip_addr,
            "ipv4_udp_multicast": ipv4_udp_multicast,
            "name": name,
            "discover_peers": discover_peers,
            "certfile": certfile,
            "keyfile": keyfile,
            "dest_path": dest_path,
            "max_file_size": max_file_size,
        }
        if secret and not {"secret", "secret_file", "no_secret"} & command_line.keys():
            options["secret"] = _must_be_good(secret)
        options.update(command_line)
        given = {name: value for name, value in options.items() if value}
        given["discover_peers"] = options["discover_peers"]
        if _networked or len(given) > 1 or not discover_peers:
            parkcos.Parkcos(**given)
            _ = parkcos.Parkcos.instance().network  # now, so that what is wrong with the options is said here
        _take_exits(parkcos.Parkcos.instance().kernel)

    @classmethod
    def instance(cls, *args: Any, **kwargs: Any) -> Pycos:
        """The one object, made if there is none."""
        return cls(*args, **kwargs)

    @property
    def _runtime(self) -> parkcos.Parkcos:
        return parkcos.Parkcos.instance()

    # -- what it is

    @property
    def location(self) -> Location | None:
        """Where others reach this process; None without a network."""
        network = self._runtime.kernel.network
        return None if network is None else network.location

    @property
    def locations(self) -> list[Location]:
        """The same for each address of the process."""
        return [] if self.location is None else [self.location]

    @property
    def name(self) -> str:
        """What others call this process."""
        return socket.gethostname() if self.location is None else self._runtime.name

    @staticmethod
    def scheduler() -> Pycos | None:
        """This object in a task, None elsewhere."""
        return None if cur_task() is None else Pycos.instance()

    @staticmethod
    def cur_task(scheduler: Any = None) -> parkcos.Task | None:
        """The running task; None outside of one."""
        return cur_task()

    cur_coro = cur_task

    def is_alive(self) -> bool:
        """Whether it runs, or can."""
        return not self._runtime.kernel.stopped

    # -- its end

    def join(self, show_running: bool = False, timeout: float | None = None) -> bool:
        """In a plain thread: wait for all tasks but daemons; whether they have ended."""
        return self._runtime.join(timeout, show_running)

    def finish(self) -> None:
        """In a plain thread: the same, and end the runtime."""
        self._runtime.finish()

    def terminate(self) -> None:
        """In a plain thread: end all tasks and the runtime."""
        self._runtime.terminate()

    def atexit(self, priority: float, func: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Call `func` when the runtime ends, high priority first."""
        self._runtime.atexit(priority, func, *args, **kwargs)

    def drop_atexit(self, priority: float, func: Callable[..., object]) -> None:
        """Take that back."""
        self._runtime.kernel.drop_atexit(priority, func)

    # -- peers

    @operation
    def peer(
        self, loc: Location | str, udp_port: int = 0, stream_send: bool = False, relay: bool = False
    ) -> Generator[Any, Any, int]:
        """Yield it.  Connect to the process at `loc`: 0; -1.  A host, or port 0: ask by UDP who is there; 0.

        udp_port: there; 0: the usual ones.
        stream_send: not needed: connections stay.
        """
        try:
            loc = loc if isinstance(loc, Location) else Location(loc, 0)
            yield known(self._runtime.network, loc)
        except ConfigError as error:
            logger.warning("peer(): %s", error)
            return -1
        if loc.port:
            self._runtime.network.hub.let_in(loc)
            done: int = yield self._runtime.peer(loc, config.MsgTimeout, relay=relay)
            return done
        self._runtime.network.greet(loc.addr, udp_port)
        return 0

    @operation
    def close_peer(self, location: Location, timeout: float = config.MsgTimeout) -> Generator[Any, Any, None]:
        """Yield it.  Forget the process at `location`, until `peer` is called for it: what is under way is dropped."""

        yield known(self._runtime.network, location)

        async def shut() -> None:
            self._runtime.network.hub.shut(location)

        yield parkcos.io(shut())

    def discover_peers(self, port: int | None = None) -> None:
        """Ask by broadcast who is there; at a server, also the client which other servers it has."""
        self._runtime.discover_peers()
        self._meet_servers()

    def _meet_servers(self) -> None:
        meet = self._runtime.network.meet_neighbours
        if meet is not None:
            parkcos.Task(meet)

    def peers(self) -> list[Location]:
        """The locations of the processes that this one is connected to."""
        return self._runtime.peers()

    def peer_status(self, task: parkcos.Task | None) -> None:
        """`task` is sent a PeerStatus for each peer, now and when one comes or goes; None: nobody is."""
        self._runtime.peer_status(task)
        if task is not None:
            self._meet_servers()

    def locate(self, name: str, timeout: float | None = None) -> Any:
        """Yield it.  The Location of the peer with that name; None."""
        return self._runtime.locate(name, timeout)

    @property
    def ignore_peers(self) -> bool:
        """True: this process neither looks for others nor hears those that look for it; whoever is connected stays."""
        return any(discovery.paused for discovery in self._runtime.network.discoveries)

    @ignore_peers.setter
    def ignore_peers(self, flag: bool) -> None:
        for discovery in self._runtime.network.discoveries:
            discovery.paused = bool(flag)

    # -- files

    def send_file(
        self,
        location: Location,
        file: str,
        dir: str | None = None,
        overwrite: bool = False,
        timeout: float | None = config.MsgTimeout,
    ) -> Any:
        """Yield it.  Send a file to a process: 0; -1, with the reason in the log."""
        return self._runtime.send_file(location, file, dir, overwrite, timeout)

    def del_file(self, location: Location, file: str, dir: str | None = None, timeout: float | None = None) -> Any:
        """Yield it.  Delete what was sent: 0; -1."""
        return self._runtime.del_file(location, file, dir, timeout)

    @property
    def dest_path(self) -> str:
        """The folder below which received files lie; it is there.  May be set to one below it."""
        folder = self._runtime.network.files.prepared()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return str(folder)

    @dest_path.setter
    def dest_path(self, path: str | os.PathLike[str]) -> None:
        self._root = root = self._root or Path(self.dest_path)
        folder = Path(os.path.normpath(root / path))
        if not folder.is_relative_to(root):
            folder = root / folder.relative_to(folder.anchor)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._runtime.network.files.dest_path = folder

    _root: Path | None = None

    # -- addresses

    @staticmethod
    def host_ipaddr(host: str) -> str | None:
        """The address of `host`; None if it has none.  A name server stops all tasks meanwhile."""
        try:
            return resolve(host)[0]
        except ConfigError:
            return None

    @staticmethod
    def host_addrinfo(
        host: str | None = None, socket_family: Any = None, ipv4_multicast: bool = False
    ) -> Struct | None:
        """An object with ``ip`` and ``family`` of `host`, or (None) of this machine."""
        from parkcos.net.finding.addresses import choose_address

        try:
            ip = choose_address(host).addr
        except ConfigError:
            return None
        return Struct(ip=ip, family=socket.AF_INET6 if ":" in ip else socket.AF_INET, ifn=0, broadcast="<broadcast>")
