"""Several hosts on one Linux machine, joined by LANs and routers that a test can break.

    with Lab({"a": ["h1", "h2", "h3"], "b": ["h4"]}, routers={"r": ["a", "b"]}) as lab:
        node = lab["h1"].popen([sys.executable, "node.py"])
        lab.partition(["h1"], ["h2", "h3"])
        lab.mend()
        lab["h1"].crash()

A host is a set of namespaces (network, host name, mounts, process ids) held by one small process, the host's pid 1.
LAN number i is 10.77.i.0/24 and fd77:i::/64; its switch is a bridge in a namespace of its own, so nothing is added to
the machine's network and labs with the same addresses run side by side. Nothing has a name in the file system: when
the test process dies, however it dies, each pid 1 reads the end of its input and exits, and the kernel removes the
processes and links of that host.

Nothing here knows parkcos. Needs util-linux, iproute2, nftables, and root (or root in a user namespace).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import ipaddress
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, Any, ParamSpec, Self, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

UNSHARE = ["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL"]
CLONE_NEWNET = 0x40000000
START_TIMEOUT_S = 10.0
INTERFACE_NAME_MAX = 15  # the kernel's IFNAMSIZ, less the closing zero


@functools.cache
def unavailable() -> str | None:
    """Why no lab can be made here, in words, or None if it can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if missing := [tool for tool in ("unshare", "nsenter", "ip", "nft") if not shutil.which(tool)]:
        return f"missing: {', '.join(missing)} (Debian: apt install util-linux iproute2 nftables)"
    trial = subprocess.run([*UNSHARE, "ip", "link", "add", "x", "type", "veth"], capture_output=True, text=True)
    if trial.returncode:
        return (
            f"network namespaces need root ({trial.stderr.strip()}); without it, run the tests inside "
            "`unshare --user --map-root-user --net --mount --pid --fork --mount-proc`"
        )
    return None


class HostProcess(subprocess.Popen[Any]):
    """A command on a host. ``pid`` is nsenter's; ``real_pid`` is the command's own, and signals go there."""

    real_pid: int | None = None

    def __init__(self, enter: list[str], command: Sequence[str], **options: Any) -> None:
        super().__init__([*enter, *command], **options)
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.real_pid is None and self.poll() is None and time.monotonic() < deadline:
            self.real_pid = next(iter(_children(self.pid)), None)
            if self.real_pid is None:
                time.sleep(0.0005)

    def send_signal(self, sig: int) -> None:  # terminate() and kill() come this way too
        if self.poll() is None and self.real_pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.real_pid, sig)
            self.wake()

    def wake(self) -> None:
        """nsenter stops with its child, and a stopped nsenter never reaps it."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)

    def discard(self) -> None:
        """Reap it after its host is gone, and close its pipes."""
        self.wake()
        self.wait(START_TIMEOUT_S)
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


class Box:
    """One set of namespaces and the process that holds it: what hosts and the switch have in common."""

    def __init__(
        self,
        name: str,
        *,
        private_tmp: bool = False,
        hosts_file: str | None = None,
        monotonic_offset_s: int = 0,
    ) -> None:
        """Begin to start it; :meth:`wait_ready` ends that.

        :param private_tmp: give it a /tmp, /dev/shm and /run of its own, empty.
        :param hosts_file: a file to be its /etc/hosts.
        :param monotonic_offset_s: how far its monotonic clock is ahead of the machine's.
        """
        self.name = name
        self._enter_time = ["--time"] if monotonic_offset_s else []
        self._processes: list[HostProcess] = []
        script = [
            f"hostname {name}",
            "ip link set lo up",
            # Else a link-local IPv6 address cannot be bound for more than a second.
            "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad || true",
        ]
        if hosts_file:
            script += [f"mount --bind '{hosts_file}' /etc/hosts"]
        if private_tmp:
            script += [f"mount -t tmpfs tmpfs {folder}" for folder in ("/tmp", "/dev/shm", "/run")]
        # pid 1 inherits orphans. SIGCHLD ignored (that outlasts exec) has the kernel reap them; dash's trap would not.
        script += ["echo ready", "exec env --ignore-signal=CHLD cat"]
        shift = [f"--monotonic={monotonic_offset_s}", f"--boottime={monotonic_offset_s}"] if monotonic_offset_s else []
        self._holder = subprocess.Popen(
            [*UNSHARE, *self._enter_time, *shift, "sh", "-ec", "\n".join(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.init_pid = 0
        self._net_fd = -1
        self._pid_namespace = 0

    def wait_ready(self) -> None:
        output = _pipe(self._holder.stdout)
        ready, _, _ = select.select([output], [], [], START_TIMEOUT_S)
        if not ready or output.readline() != b"ready\n":
            raise RuntimeError(f"host {self.name} did not start")
        self.init_pid = _children(self._holder.pid)[0]
        self._net_fd = os.open(f"/proc/{self.init_pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._pid_namespace = os.stat(f"/proc/{self.init_pid}/ns/pid").st_ino

    # Running things there

    @property
    def _enter(self) -> list[str]:
        return ["nsenter", "-t", str(self.init_pid), "--net", "--uts", "--mount", "--pid", *self._enter_time, "--"]

    def popen(self, command: Sequence[str], **options: Any) -> HostProcess:
        """Start a command there; ``options`` are Popen's."""
        process = HostProcess(self._enter, command, **options)
        self._processes.append(process)
        return process

    def run(self, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run a command there to its end; ``options`` are subprocess.run's."""
        return subprocess.run([*self._enter, *command], **options)

    def check_output(self, command: Sequence[str], **options: Any) -> str:
        return str(self.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout)

    def net(self, *command: str, stdin: str = "", check: bool = True) -> str:
        """Run one of the machine's tools (ip, nft, tc) in that network."""
        enter = ["nsenter", f"--net=/proc/{self.init_pid}/ns/net", "--"]
        done = subprocess.run([*enter, *command], input=stdin, capture_output=True, text=True)
        if check and done.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function in a thread of this process that is in that network. Sockets made there stay there."""
        outcome: list[R] = []
        failure: list[BaseException] = []

        def body() -> None:
            try:
                _setns(self._net_fd)
                outcome.append(function(*args, **kwargs))
            except BaseException as error:
                failure.append(error)

        thread = threading.Thread(target=body, name=f"in the network of {self.name}")
        thread.start()
        thread.join()
        if failure:
            raise failure[0]
        return outcome[0]

    def pids(self) -> list[int]:
        """The processes there, as numbered here; pid 1 is not among them."""
        return [pid for pid in _all_pids() if pid != self.init_pid and _pid_namespace(pid) == self._pid_namespace]

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.init_pid, signal.SIGKILL)

    def close(self) -> None:
        """End it and everything that runs there. May be called twice."""
        with contextlib.suppress(BrokenPipeError):
            _pipe(self._holder.stdin).close()
        for process in self._processes:
            process.wake()
        try:
            self._holder.wait(3)
        except subprocess.TimeoutExpired:
            self._kill()
            self._holder.wait(3)
        _pipe(self._holder.stdout).close()
        while self._processes:
            self._processes.pop().discard()
        self._leave_network()

    def _leave_network(self) -> None:
        if self._net_fd >= 0:
            os.close(self._net_fd)
            self._net_fd = -1


class Host(Box):
    """A host, or a router, of a :class:`Lab`, and the ways in which it alone can fail."""

    def __init__(self, name: str, switch: Box, **options: Any) -> None:
        super().__init__(name, **options)
        self._switch = switch
        self.interfaces: dict[str, tuple[str, str]] = {}  # LAN -> (device, IPv4 address)

    @property
    def ip(self) -> str:
        """Its IPv4 address in its first LAN."""
        return next(iter(self.interfaces.values()))[1]

    @property
    def ip6(self) -> str:
        return _ip6(self.ip)

    @property
    def ports(self) -> list[str]:
        """Its ports at the switch."""
        return [_port(self.name, lan) for lan in self.interfaces]

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> socket.socket:
        return self.call(socket.socket, family, kind)

    # The whole host

    def crash(self) -> None:
        """Power off: nothing more comes from it, not even the packets that end its connections."""
        self.isolate()
        self._kill()
        for process in self._processes:
            process.wake()
        self._holder.wait(START_TIMEOUT_S)
        self._leave_network()

    def pause(self) -> None:
        """Stop every process there. Its kernel goes on: it accepts connections and acknowledges data."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        for process in self._processes:
            process.wake()

    # Its cable

    def unplug(self) -> None:
        """Cable out: the host sees its carrier go."""
        self._set_ports("down")

    def plug(self) -> None:
        self._set_ports("up")

    def isolate(self) -> None:
        """Nothing passes in either direction, and the host cannot tell: its carrier stays."""
        self._set_ports("nomaster")

    def rejoin(self) -> None:
        self._switch.net(
            "ip", "-batch", "-", stdin=_lines(f"link set dev {_port(self.name, x)} master {x}" for x in self.interfaces)
        )

    def _set_ports(self, setting: str) -> None:
        self._switch.net("ip", "-batch", "-", stdin=_lines(f"link set dev {port} {setting}" for port in self.ports))

    # What its own firewall and queue do

    def lose(self, share: float) -> None:
        """Lose this share of what arrives, at random; 0 ends it."""
        rule = f'iifname != "lo" numgen random mod 1000000 < {round(share * 1e6)} drop'
        self._firewall("loss", [rule] if share else [])

    def block(self, *sources: str) -> None:
        """Drop what comes from these IPv4 addresses; no address ends it."""
        self._firewall("block", [f"ip saddr {{ {', '.join(sources)} }} drop"] if sources else [])

    def reject(self, *sources: str) -> None:
        """Like :meth:`block`, but TCP is answered with a reset."""
        saddr = f"ip saddr {{ {', '.join(sources)} }}"
        self._firewall("block", [f"{saddr} meta l4proto tcp reject with tcp reset", f"{saddr} drop"] if sources else [])

    def _firewall(self, table: str, rules: Iterable[str]) -> None:
        self.net("nft", "-f", "-", stdin=_nft_table("inet", table, "input", rules))

    def throttle(self, rate: str | None, *, burst: str = "16kb", latency: str = "200ms") -> None:
        """Send no faster than this (as ``tc`` writes it: "1mbit"); None ends it."""
        device = next(iter(self.interfaces.values()))[0]
        self.net("tc", "qdisc", "del", "dev", device, "root", check=False)
        if rate is not None:
            shape = ["tbf", "rate", rate, "burst", burst, "latency", latency]
            self.net("tc", "qdisc", "add", "dev", device, "root", *shape)


class Lab:
    """Hosts, the LANs they are in, and the routers between these."""

    def __init__(
        self,
        lans: Mapping[str, Sequence[str]],
        *,
        routers: Mapping[str, Sequence[str]] | None = None,
        ipv6: bool = True,
        **host_options: Any,
    ) -> None:
        """
        :param lans: LAN -> its hosts. A host that is in several LANs has an interface in each.
        :param routers: router -> its LANs. A LAN's first router is the default route of its hosts.
        :param host_options: for every host and router, see :class:`Box`.
        """
        self._routers = dict(routers or {})
        self._ipv6 = ipv6
        self._host_options = host_options
        self._rules: list[str] = []
        self._addresses = _addresses(lans, self._routers)
        for name, addresses in self._addresses.items():
            for lan in addresses:
                if len(_port(name, lan)) > INTERFACE_NAME_MAX:
                    raise ValueError(f"{_port(name, lan)!r} is too long for an interface's name")
        self._lans = list(lans)
        self.hosts: dict[str, Host] = {}

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def __enter__(self) -> Self:
        self._switch = Box("switch")
        try:
            for name in self._addresses:
                self.hosts[name] = Host(name, self._switch, **self._host_options)
            for box in (self._switch, *self.hosts.values()):
                box.wait_ready()
            self._wire()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        for box in (*self.hosts.values(), self._switch):
            box.close()

    def _wire(self) -> None:
        links = []
        for lan in self._lans:
            links += [f"link add name {lan} type bridge forward_delay 0 mcast_snooping 0", f"link set dev {lan} up"]
        for host in self.hosts.values():
            for index, (lan, address) in enumerate(self._addresses[host.name].items()):
                device, port = f"eth{index}", _port(host.name, lan)
                host.interfaces[lan] = (device, address)
                links += [
                    f"link add name {port} type veth peer name {device} netns {host.init_pid}",
                    f"link set dev {port} master {lan} up",
                ]
        self._switch.net("ip", "-batch", "-", stdin=_lines(links))
        for host in self.hosts.values():
            host.net("ip", "-batch", "-", stdin=_lines(self._set_up(host)))
        for router in self._routers:
            self.hosts[router].run(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"], check=True)

    def _set_up(self, host: Host) -> Iterable[str]:
        for device, address in host.interfaces.values():
            yield f"addr add {address}/24 brd + dev {device}"
            yield f"link set dev {device} up"
            if self._ipv6:
                yield f"addr add {_ip6(address)}/64 dev {device} nodad"
        if host.name in self._routers:
            return
        lan, (device, _) = next(iter(host.interfaces.items()))
        gateway = next((self._addresses[r][lan] for r, lans in self._routers.items() if lan in lans), None)
        # Without a default route, 255.255.255.255 and multicast have nowhere to go.
        yield f"route add default via {gateway}" if gateway else f"route add default dev {device}"

    # Faults between hosts. They sit in the switch, silent for both ends.

    def partition(self, *groups: Iterable[str]) -> None:
        """Hosts of different groups can no longer reach each other."""
        sides = [list(group) for group in groups]
        self._add_rules(
            rule
            for side in sides
            for other in sides
            if other is not side
            for source in side
            for target in other
            for rule in self._drop(source, target)
        )

    def oneway(self, source: str, target: str, *, loss: float = 1.0) -> None:
        """Drop what ``source`` sends to ``target`` (or a share of it, at random); the way back stays open."""
        self._add_rules(self._drop(source, target, loss))

    def mend(self) -> None:
        """Take away every :meth:`partition` and :meth:`oneway`."""
        self._rules = []
        self._add_rules([])

    def _drop(self, source: str, target: str, loss: float = 1.0) -> list[str]:
        chance = "" if loss >= 1 else f"numgen random mod 1000000 < {round(loss * 1e6)} "
        one, two = self[source], self[target]
        rules = []
        if one.interfaces.keys() & two.interfaces.keys():  # in one LAN: all between two ports, ARP and broadcasts too
            rules += [f"iifname {_set(one.ports)} oifname {_set(two.ports)} {chance}drop"]
        else:  # over a router: what the one sends from its addresses to those of the other
            for family, pick in (("ip", str), ("ip6", _ip6)):
                saddr = ", ".join(pick(address) for _, address in one.interfaces.values())
                daddr = ", ".join(pick(address) for _, address in two.interfaces.values())
                ports = f"iifname {_set(one.ports)} "
                rules += [f"{ports}{family} saddr {{ {saddr} }} {family} daddr {{ {daddr} }} {chance}drop"]
        return rules

    def _add_rules(self, rules: Iterable[str]) -> None:
        self._rules += rules
        self._switch.net("nft", "-f", "-", stdin=_nft_table("bridge", "lab", "forward", self._rules))


def _addresses(lans: Mapping[str, Sequence[str]], routers: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """Host or router -> LAN -> address: hosts count up from .1, routers down from .254."""
    subnets = dict(zip(lans, ipaddress.IPv4Network("10.77.0.0/16").subnets(new_prefix=24), strict=False))
    found: dict[str, dict[str, str]] = {}
    for lan, names in lans.items():
        for number, name in enumerate(names, 1):
            found.setdefault(name, {})[lan] = str(subnets[lan][number])
    for index, (router, joined) in enumerate(routers.items()):
        for lan in joined:
            found.setdefault(router, {})[lan] = str(subnets[lan][254 - index])
    return found


def _ip6(address: str) -> str:
    _, _, subnet, number = address.split(".")
    return f"fd77:{subnet}::{number}"


def _port(host: str, lan: str) -> str:
    return f"{host}.{lan}"


def _set(names: Iterable[str]) -> str:
    return "{ " + ", ".join(f'"{name}"' for name in names) + " }"


def _lines(commands: Iterable[str]) -> str:
    return "".join(f"{command}\n" for command in commands)


def _nft_table(family: str, name: str, hook: str, rules: Iterable[str]) -> str:
    """A table with one chain, in place of any former one of this name, in one step."""
    return (
        f"table {family} {name}\n"
        f"delete table {family} {name}\n"
        f"table {family} {name} {{\n"
        f"chain c {{\n"
        f"type filter hook {hook} priority -300\n"  # a rule ends with its line: nft takes no `}` on it
        f"{_lines(rules)}"
        f"}}\n"
        f"}}\n"
    )


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _setns(fd: int) -> None:  # os.setns is there from Python 3.12 on
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def _all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _pid_namespace(pid: int) -> int | None:
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:  # it ended, or it is a zombie
        return None
