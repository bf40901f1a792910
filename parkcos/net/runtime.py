"""Parkcos: the one runtime of a process: a kernel thread, an I/O thread, and a network when it is needed.

This is the only place with process-wide state.  A program that makes a Task gets a kernel; one that registers a
name, looks for another process or schedules a client gets a network, with the options that `Parkcos(...)` was
given before, or the defaults.
"""

from __future__ import annotations

import atexit
import inspect
import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from parkcos.errors import ConfigError, NoNetworkYet, UsageError, WouldHang
from parkcos.kernel import Kernel, Task, cur_task
from parkcos.kernel.forked import keep_for_ever, leave
from parkcos.kernel.registry import set_default_kernel_factory
from parkcos.kernel.wait import Completion
from parkcos.net.iothread import THREADS_MUST_START_EARLY, IOThread
from parkcos.net.location import Location

if TYPE_CHECKING:
    from parkcos.net.network import Network
    from parkcos.net.options import NetworkOptions

logger = logging.getLogger("parkcos")

T = TypeVar("T")

VERSION = "0.1.0"

_NETWORK_CLOSES = -1000


class Parkcos:
    """The runtime of this process; the first call decides, a later one without arguments gives the same object.

    Args:
        host: own address or name, or several for a machine in several networks (the first is the one that references
            carry); None: found from the network interfaces, never from the host name.
        tcp_port: to listen at; 0 for any free one; or a sequence of ports of which the first free one is taken.
        udp_port: for discovery.
        name: of this process, for others; None: the host's name.
        secret: of the cluster, at least 16 characters that nobody guesses; None: the one in `secret_file`.
        secret_file: None: ``~/.config/parkcos/secret``, made on first use.
        no_secret: talk without encryption, to anybody; then `host` None means loopback.
        certfile: PEM file with a certificate of your own, to be used instead of those that come from the secret.
        keyfile: PEM file with its key; None: it is in `certfile`.
        cafile: PEM file with the certificates that are trusted; None: only the one in `certfile`, which all share.
        old_secret_file: with the secret that is being replaced, which is accepted, too.
        grant: file of a grant, by which this program takes part without the secret.
        cluster: its name: programs of two clusters do not understand each other, also if they have the same secret.
        ext_ip_addr: address that others are told instead of the own one, behind NAT; or several, in its order.
        discover_peers: find other processes by UDP broadcast, and let them find this one.
        ipv4_udp_multicast: the same by multicast; with an IPv6 address it is always multicast.
        pulse_s: seconds between signs of life; after 15 without one a peer is gone.
        dest_path: received files lie below it; None: a folder of the user's own.
        max_file_size: of received files, in bytes; None or 0: no bound.
        max_payload: of an argument, result or message that this program takes, in bytes; None: 2 GiB.

    Raises: ConfigError if the options cannot be used, or differ from those in use.

    Source: chapter 6 (the options that node, scheduler and client share with Pycos).
    """

    kernel: Kernel
    __signature__: ClassVar[inspect.Signature]
    _instance: Parkcos | None = None
    _lock = threading.RLock()
    """Of what is decided once; held for short."""
    _starting = threading.RLock()
    """Held while the network starts; never waited for in the I/O thread."""
    _barred: ClassVar[str] = ""
    """Why nothing of this may start in this process, which has neither threads nor a network; "": it may."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Parkcos:
        with cls._lock:
            this = cls._instance
            if this is None or this.kernel.stopped:
                this = cls._instance = super().__new__(cls)
                this._io = None
                this._network = None
                this._configured = None
                this._prepare = None
                this._starts = False
                this.kernel = Kernel()
                this.kernel.network_factory = this._make_network
                this.kernel.on_register = lambda _: this.network
            return this

    _io: IOThread | None
    _network: Network | None
    _configured: NetworkOptions | None
    _prepare: Callable[[Network], Any] | None
    _prepared: Any
    _starts: bool

    def __init__(
        self,
        host: str | Sequence[str] | None = None,
        tcp_port: int | Sequence[int] = 0,
        udp_port: int | None = None,
        name: str | None = None,
        secret: str | None = None,
        *,
        secret_file: str | Path | None = None,
        no_secret: bool = False,
        ext_ip_addr: str | Sequence[str] | None = None,
        discover_peers: bool = True,
        ipv4_udp_multicast: bool = False,
        pulse_s: float = 5.0,
        certfile: str | Path | None = None,
        keyfile: str | Path | None = None,
        cafile: str | Path | None = None,
        old_secret_file: str | Path | None = None,
        grant: str | Path | None = None,
        dest_path: str | Path | None = None,
        max_file_size: int | None = None,
        cluster: str = "parkcos",
        max_payload: int | None = None,
    ) -> None:
        given = locals()
        plain = all(given[name] == option.default for name, option in self.__signature__.parameters.items())
        with self._lock:
            if plain and (self._configured is not None or self._network is not None):
                return
            if self._network is not None or self._starts:
                raise ConfigError(
                    "the network of this process has started with other options: "
                    "call Parkcos(...) with them before the first client, peer or registered task"
                )
            if not plain:
                from parkcos.net.options import NetworkOptions
                from parkcos.net.trust.certificates import load_certificates
                from parkcos.net.trust.secret_text import CLUSTER

                if no_secret and (secret or old_secret_file):
                    raise ConfigError("give either a secret or no_secret, not both")
                if no_secret and cluster != CLUSTER:
                    raise ConfigError(f"cluster={cluster!r} goes with a secret: without one, names keep nobody apart")
                if secret == "":
                    raise ConfigError("an empty secret protects nothing: leave it out, or say no_secret=True")
                options = NetworkOptions(version=VERSION, name="" if name is None else name, ext_host=ext_ip_addr)
                options.certificates = load_certificates(certfile, keyfile, cafile)
                options.host = host or ("127.0.0.1" if no_secret and not options.certificates else None)
                options.tcp_ports = (tcp_port,) if isinstance(tcp_port, int) else tuple(tcp_port)
                options.discover, options.pulse_s = discover_peers, pulse_s
                options.multicast = ipv4_udp_multicast
                options.dest_path = Path(dest_path).absolute() if dest_path is not None else None
                options.max_file_size = _checked_size(max_file_size)
                options.max_payload = options.max_payload if max_payload is None else max_payload
                if udp_port is not None:
                    options.udp_port = udp_port
                    options.target_udp_ports = (udp_port, udp_port + 1) if isinstance(udp_port, int) else ()
                if grant and (no_secret or secret or secret_file or old_secret_file or certfile):
                    raise ConfigError("give either a grant, or what it stands for: a secret or a certificate, not both")
                if grant:
                    options.take_grant(Path(grant).absolute())
                elif not no_secret:
                    new, old = (Path(p) if p is not None else None for p in (secret_file, old_secret_file))
                    options.take_secret(secret, new, old, cluster)
                self.configure(options)
        if not plain:
            self.network  # noqa: B018  what is wrong with the options is said here, not later

    def configure(self, options: NetworkOptions) -> None:
        """Set the options of the network before it starts; for programs of parkcos itself."""
        with self._lock:
            if self._network is not None or self._starts:
                raise ConfigError("the network of this process has started already")
            self._configured = options

    def start_network(self, options: NetworkOptions, make: Callable[[Network], T]) -> T:
        """Start the network with what `make` adds to it, and the kernel; for programs of parkcos itself.

        Nothing comes in before `make` has returned: others dial a program as soon as it listens.  They also ask it for
        tasks and names, as any peer, and are answered by the kernel, though it has none.

        Returns: what `make` gave.
        """
        with self._lock:
            self.configure(options)
            self._prepare = make
        self.network  # noqa: B018  starts it
        self.start()
        made: T = self._prepared
        return made

    @classmethod
    def instance(cls) -> Parkcos:
        """The runtime of this process, made if there is none."""
        return cls()

    def _must_not_be_barred(self) -> None:
        if self._barred:
            raise NoNetworkYet(self._barred)

    def start(self) -> None:
        """Start the kernel in a thread of its own, for which the program waits at its end."""
        self._must_not_be_barred()
        with self._lock:
            if self.kernel.ident == -1 and not self.kernel.stopped:
                self.kernel.finish_at_exit()
                self.kernel.start()
                if THREADS_MUST_START_EARLY:
                    self.io  # noqa: B018  starts it

    @property
    def io(self) -> IOThread:
        """The I/O thread, started when it is first needed, or with the kernel where that would be too late."""
        self._must_not_be_barred()
        with self._lock:
            if self._io is None:
                self._io = IOThread()
                self._io.start()
                self.kernel.atexit(_NETWORK_CLOSES - 1, self._io.close)
                self.kernel.atexit(_NETWORK_CLOSES - 1, atexit.unregister, self._at_exit)
                atexit.register(self._at_exit, os.getpid())
            return self._io

    def _at_exit(self, process: int) -> None:
        """The interpreter is about to be taken down: uvloop in a thread that outlives it is a segmentation fault.

        A kernel that was started has seen to the end of all before, if it was not cut short.
        """
        if process != os.getpid() or self.kernel.in_kernel_thread():
            return
        if self.kernel.ident == -1:
            self.kernel.terminate()
        if self._io is not None:
            self._io.close()

    @property
    def network(self) -> Network:
        """The network, started when it is first needed.

        Raises: ConfigError; WouldHang if it is first needed in a coroutine of the I/O thread, which starts it.
        """
        if self._network is not None:
            return self._network
        self._must_not_be_barred()
        if self.io.in_thread():
            raise WouldHang(
                "the network of this process starts with its first use, and that cannot be in a coroutine of io()\n"
                "  write: Parkcos(...).location   in the program or the task, before: yield parkcos.io(...)"
            )
        with self._starting:  # and not `_lock`: the I/O thread has to go on, and may want that one
            if self._network is None:
                with self._lock:
                    self._starts = True
                try:
                    self._network = self.kernel.network = self._started_network()
                finally:
                    self._starts = False
            return self._network

    def _started_network(self) -> Network:
        from parkcos.net.network import Network

        network = Network(self.kernel, self.io, self._configured or self._default_options())
        if self._prepare is not None:
            self._prepared = self._prepare(network)
        network.start()
        self.kernel.atexit(_NETWORK_CLOSES, network.close)
        return network

    def _make_network(self) -> Any:
        return self.network

    def _default_options(self) -> NetworkOptions:
        from parkcos.net.options import NetworkOptions

        options = NetworkOptions(version=VERSION)
        options.take_secret()
        return options

    # -- what programs ask of it

    @property
    def location(self) -> Location:
        """Where other processes reach this one."""
        return self.network.location

    @property
    def name(self) -> str:
        """What other processes call this one."""
        return self.network.name

    def peer(self, location: Location, timeout: float | None = 10.0, *, relay: bool = False) -> Any:
        """Connect to the process at `location`.  Yield it.  Returns 0; -1, and why in the log, if that fails.

        Args:
            timeout: seconds; None for ever.
            relay: ask it whom it hears in its network, and connect to those too.

        Raises: ConfigError if the name of its host cannot be resolved.
        """
        if not isinstance(location, Location):
            raise UsageError(f"peer() wants a Location, not {location!r}\n  write: yield x.peer(Location(host, port))")
        return self.network.peer(location, timeout, relay)

    def peers(self) -> list[Location]:
        """The locations of all processes that this one is connected to.  Do not yield it."""
        return self.network.peers()

    def peer_status(self, task: Task | None) -> None:
        """Send `task` a PeerStatus for every peer now, and whenever one comes or goes; None: to nobody any more."""
        self.network.peer_status(task)

    def discover_peers(self) -> None:
        """Ask by broadcast who is there.  Do not yield it."""
        self.network.look_for(())

    def locate(self, name: str, timeout: float | None = None) -> Any:
        """The Location of the peer called `name`, or None after `timeout` seconds.  Yield it."""
        return self.network.locate(name, timeout)

    @property
    def dest_path(self) -> Path:
        """Files that this process is sent lie below this folder, which is made when the first one comes."""
        return self.network.files.dest_path

    def send_file(
        self,
        location: Location,
        file: str | os.PathLike[str],
        dir: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        timeout: float | None = None,
    ) -> Completion[int]:
        """Send a file to another process, where it keeps its name and its mode's nine permission bits.  Yield it.

        Args:
            location: of the process, as `rtask.location`; at a server the file lies in its working directory.
            dir: relative folder below the receiver's dest_path, made if need be; None: dest_path itself.
            overwrite: replace another file of that name.
            timeout: in seconds; None: as long as it takes.  What has arrived by then is kept for a day, and sending
                the same file again goes on from there; so it does after the connection or a process was lost.

        Returns: 0 when it is there, or the very same was there before; -1 with a line in the log of both sides that
            says why.

        Raises: UsageError for arguments of the wrong kind; ConfigError if the name of a host cannot be resolved.
            Source: pycos vocabulary.
        """
        return self.network.files.send(location, file, dir, overwrite, timeout)

    def del_file(
        self,
        location: Location,
        file: str | os.PathLike[str],
        dir: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
    ) -> Completion[int]:
        """Delete a file that `send_file` with the same arguments has brought.  Yield it.

        Args:
            file: of a path the last part counts.
            timeout: in seconds; None: as long as it takes.

        Returns: 0 when it is deleted; -1 with a line in the log of both sides that says why not.

        Raises: UsageError for arguments of the wrong kind; ConfigError if the name of a host cannot be resolved.
            Source: pycos vocabulary.
        """
        return self.network.files.delete(location, file, dir, timeout)

    def atexit(self, priority: float, fn: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Call `fn` when the runtime ends, high priority first, equal ones in the order in which they came."""
        self.kernel.atexit(priority, fn, *args, **kwargs)

    @staticmethod
    def cur_task() -> Task | None:
        """The running task, None outside of one."""
        return cur_task()

    def join(self, timeout: float | None = None, show_running: bool = False) -> bool:
        """Wait in a plain thread until all tasks but daemons have ended; whether they have.

        Raises: WouldHang inside a task.
        """
        return self.kernel.join(timeout, show_running)

    def finish(self) -> None:
        """Wait for all tasks but daemons, then end the runtime."""
        self.kernel.finish()

    def terminate(self) -> None:
        """End all tasks and the runtime; the next Task starts another."""
        self.kernel.terminate()


def _checked_size(max_file_size: Any) -> int | None:
    if max_file_size is not None and (not isinstance(max_file_size, int) or max_file_size < 0):
        raise ConfigError(f"max_file_size is a number of bytes, or None for no bound, not {max_file_size!r}")
    return max_file_size


_signature = inspect.signature(Parkcos.__init__)
Parkcos.__signature__ = _signature.replace(parameters=list(_signature.parameters.values())[1:])
"""What `help` shows; without it, that would be the arguments of `__new__`, which takes any."""


def bar(reason: str) -> None:
    """Let nothing of the runtime start in this process, in which others are to be forked; `reason` "": it may."""
    Parkcos._barred = reason


def _start_default() -> Kernel:
    runtime = Parkcos.instance()
    runtime.start()
    return runtime.kernel


def _forked() -> None:
    """In a child that was forked: it has no runtime, until it makes one."""
    Parkcos._lock, Parkcos._starting = threading.RLock(), threading.RLock()  # other threads may have held them
    runtime = Parkcos._instance
    if runtime is not None and runtime._io is not None:
        leave(runtime.kernel)
        runtime._io.forked()
        keep_for_ever(runtime)
        Parkcos._instance = None


set_default_kernel_factory(_start_default)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
