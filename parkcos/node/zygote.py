"""The zygote: a process with one thread and no network, from which the servers of one client are forked.

It opens the client's bundle and runs node_setup; what that loads is shared by all servers, copy on write.  When a
server ends, the zygote kills what the server has started: its process group, and what is known by its environment.
When its node closes it, or dies, it kills whatever is left of the client's processes and removes the client's
directory.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import os
import select
import shutil
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from parkcos.cluster import namespace, shared
from parkcos.cluster.bundle import decode_bundle
from parkcos.cluster.requirements import what_is_missing
from parkcos.errors import ConfigError, NoNetworkYet
from parkcos.kernel import Kernel, MonitorStatus, failures
from parkcos.net.files.rules import Refused
from parkcos.net.options import NetworkOptions
from parkcos.net.payload import PICKLE, loads
from parkcos.net.runtime import Parkcos, bar
from parkcos.net.trust import tls
from parkcos.node import ending, family, printing, randomness, serving
from parkcos.node.as_client import FAMILY, become, end_family
from parkcos.node.client_folders import BUNDLE, server_folder
from parkcos.node.environment import limit_threads
from parkcos.node.identity import set_dumpable
from parkcos.node.limits import bound_server, bound_zygote
from parkcos.node.sent import SENT
from parkcos.node.server_config import ServerConfig, network_options
from parkcos.node.tally import Tally
from parkcos.node.unpacking import unpack
from parkcos.program.limits import set_open_files
from parkcos.program.signals import handle

_DESCRIPTORS_MAX = 16
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_NODE_SETUP_FAILED = "node_setup"
_BARRED = "node_setup has no network, since servers are forked after it; what needs one belongs into server_setup"


class Zygote:
    """The loop around `fork`.

    Args:
        orders: the socket to the node.
        reports: the pipe into which servers report, handed on to them.
        parent: the node's process id.
        tally: in which servers count their tasks.
        isolated: this process has another user than the node; see `identity.py`.
    """

    def __init__(self, orders: socket.socket, reports: int, parent: int, tally: Tally, isolated: bool = False) -> None:
        self.orders = orders
        self.reports = reports
        self.parent = parent
        self.tally = tally
        self.isolated = isolated
        self.mark = os.environ.get(FAMILY, "")
        self.children: dict[int, family.Fork] = {}
        """The order by which each server was started, by process id."""
        self.config: ServerConfig | None = None
        self.options: NetworkOptions | None = None
        self.folder: Path | None = None
        """With all the client's files; removed at the end."""
        self.directory: Path | None = None
        """In which the client begins."""
        self._pipes: list[int] = []
        """Have come, and their order has not yet."""
        # The servers hold the reading end; it ends when this process does, also where there is no prctl.
        self.lifeline, self._lifeline_end = os.pipe()

    def run(self) -> NoReturn:
        """Serve until the node says Close or is gone."""
        family.die_with_parent(signal.SIGTERM, self.parent)
        handle(signal.SIGTERM, self._terminated)
        handle(signal.SIGCHLD, lambda *_: None)
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        unframer = family.Unframer()
        poll = select.poll()
        poll.register(self.orders, select.POLLIN)
        poll.register(wake_read, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == wake_read:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake_read, 4096)
                    self._reap()
                else:
                    data = self._receive()
                    if not data:
                        self._end()
                    for body in unframer.feed(data):
                        self._obey(family.decode_order(body))

    def _receive(self) -> bytes:
        """What the node orders.  The pipes that go with an order come with its first byte."""
        try:
            data, pipes, flags, _ = socket.recv_fds(self.orders, 1 << 16, _DESCRIPTORS_MAX, _CLOSE_ON_EXEC)
        except ConnectionError:  # the node is gone, and had not read all that was said to it
            return b""
        if flags & socket.MSG_CTRUNC:  # this process has too many files open; those of one order come at a time
            _close_all(pipes)
            pipes = [-1] * family.PIPES
        self._pipes += pipes
        return data

    def _obey(self, order: family.Open | family.Fork | family.Signal | family.Close) -> None:
        match order:
            case family.Open(config, directory, shared_in):
                self.config, self.folder = config, Path(directory)
                # Of an isolated client, the folder is the node's.
                self.directory = self.folder / "own" if self.isolated else self.folder
                self._tell(self._open(Path(shared_in or directory)))
            case family.Fork():
                pipes, self._pipes = self._pipes[: family.PIPES], self._pipes[family.PIPES :]
                self._fork(order, pipes)
            case family.Signal(index, number):
                for pid, server in self.children.items():
                    if server.index == index:
                        os.kill(pid, number)
            case family.Close():
                self._kill_children()
                gc.unfreeze()
                ending.finish()  # of what node_setup has begun; the client's folder is still there
                self._end()

    def _tell(self, news: family.Message) -> None:
        with contextlib.suppress(OSError):
            self.orders.sendall(family.frame(news))

    def _open(self, shared_in: Path) -> family.Message:
        assert self.config is not None and self.folder is not None and self.directory is not None
        try:
            bound_zygote(self.config.limits, self.isolated)
            if self.isolated:
                self.directory.mkdir(mode=0o700)
                if (self.folder / SENT).is_dir():
                    shutil.copytree(self.folder / SENT, self.directory, dirs_exist_ok=True)
                set_dumpable()  # not before: until here, an earlier client's processes could look into this one
            shared.open_at(shared_in / shared.FOLDER)
            self.options = network_options(self.config)
            self.options.prepare()
            bar(_BARRED)
            os.chdir(self.directory)
            sys.path[0:0] = [str(self.directory)]
            sys.modules["__main__"] = namespace.HOME.fresh_module("__main__")
            path = self.folder / BUNDLE
            bundle = decode_bundle(path.read_bytes())
            path.unlink()
            limit_threads(bundle.threads)  # before anything is imported that reads it
            os.environ.update(bundle.env)
            os.environ["PATH"] = f"{self.directory}{os.pathsep}{os.environ.get('PATH', '')}"
            if bundle.seeded:
                randomness.load()
            try:
                unpack(bundle.files, self.directory, self.config.max_file_size)
            except Refused as refused:
                return family.OpenFailed(family.shortened(str(refused)))
            except OSError as full:  # this node's disk, not the client's code
                what = f"it cannot take the file {full.filename} of the client's components: {full.strerror}"
                return family.OpenFailed(family.shortened(what), setup=False)
            # Before any of the client's code runs, which may need what is missing.
            missing = what_is_missing(bundle.requirements, {d.module for d in bundle.definitions})
            if missing:
                text = f"it lacks what the client requires: {'; '.join(missing)}"
                return family.OpenFailed(family.shortened(text), setup=False)
            for name in bundle.preload:
                try:
                    importlib.import_module(name)
                except BaseException as failure:
                    text = f"the module {name!r} (preload) cannot be imported: {failures.line_of(failure)}"
                    return family.OpenFailed(family.shortened(text))
            namespace.HOME.install(bundle.definitions)
            if bundle.node_setup is not None:
                error = self._node_setup(bundle.node_setup)
                if error:
                    return family.OpenFailed(family.shortened(error))
        except BaseException as error:  # of the client's code, too
            text = f"the client's components cannot be opened: {failures.line_of(error)}"
            return family.OpenFailed(family.shortened(text))
        gc.collect()
        gc.freeze()  # what is there now is not looked at again, so its pages stay shared
        return family.Opened()

    def _node_setup(self, pickled: bytes) -> str:
        try:
            fn, args, kwargs = loads(PICKLE, pickled)
            kernel = Kernel("node_setup")
            kernel.network_factory = lambda: Parkcos.instance().network  # which says why there is none
            task = kernel.spawn(fn, *args, **kwargs)
        except NoNetworkYet:
            return f"{_NODE_SETUP_FAILED} cannot be run: it refers to a task or channel; {_BARRED}"
        except BaseException as error:  # of the client's code
            return f"{_NODE_SETUP_FAILED} cannot be run: {failures.line_of(error)}"
        task.add_end_callback(lambda _: kernel.terminate())
        kernel.run()
        value = task._value_of_end()
        if isinstance(value, MonitorStatus):
            return f"{_NODE_SETUP_FAILED} failed: {value.traceback or value.type.__name__}"
        if value != 0 or value is False:
            return f"{_NODE_SETUP_FAILED} returned {value!r}; it must return 0 when the node is ready"
        return ""

    def _fork(self, order: family.Fork, pipes: list[int]) -> None:
        here = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            if -1 in pipes:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            pid = os.fork()
            if pid == 0:
                self._be_server(order, pipes, here)
            _lead_group(pid)
            self.children[pid] = order
        except OSError as error:  # too many processes or files, too little memory: it is tried again later
            self._tell(family.Exited(order.index, f"it could not be started: {error.strerror}"))
        finally:
            _close_all(pipes)

    def _be_server(self, order: family.Fork, pipes: list[int], parent: int) -> NoReturn:
        """In the child that was forked."""
        assert self.config is not None and self.options is not None and self.directory is not None
        try:
            family.die_with_parent(signal.SIGKILL, parent)
            _lead_group(os.getpid())
            if order.niceness:
                os.nice(order.niceness)
            os.environ[FAMILY] = self._mark_of(os.getpid())
            bound_server(self.config.limits)
            self.orders.close()
            os.close(self._lifeline_end)
            _close_all(self._pipes)  # other servers'
            *printed, log = pipes
            printing.print_into(printed)
            printing.set_up_server_logging(log, debug=self.config.debug)
            ending.forget_parent()
            randomness.scatter()
            bar("")
            code = serving.main(
                self.config,
                self.options,
                order.index,
                order.ports,
                self.reports,
                self.lifeline,
                self.directory,
                self.tally,
            )
        except ConfigError as error:
            print(f"this server cannot start: {error}", file=sys.stderr)
            code = 1
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 1
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
        os._exit(code)

    def _reap(self) -> None:
        ended: dict[int, tuple[family.Fork, int]] = {}
        with contextlib.suppress(ChildProcessError):  # there is none
            while self.children:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                order = self.children.pop(pid, None)
                if order is not None:
                    _kill_group(pid)  # of what it has started; its number is nobody else's while somebody is in it
                    ended[pid] = order, status
        if ended:
            end_family([self._mark_of(pid) for pid in ended], self.parent)
        for order, status in ended.values():  # not before: what ran there may begin again elsewhere
            if order.own and self.directory is not None:
                shutil.rmtree(server_folder(self.directory, order.index), ignore_errors=True)
            self._tell(family.Exited(order.index, family.describe_exit(status)))

    def _mark_of(self, pid: int) -> str:
        """By which the programs that a server has started are known."""
        return f"{self.mark}{pid}:"

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        self._end()

    def _kill_children(self) -> None:
        for pid in self.children:
            _kill_group(pid)

    def _end(self) -> NoReturn:
        self._kill_children()
        if self.mark:
            end_family([self.mark], self.parent)
        if self.folder is not None:
            os.chdir("/")
            shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(os.getpgid(0), signal.SIGKILL)  # what node_setup has started, and this process
        os._exit(0)


def main() -> NoReturn:
    """Entry: ``start.py parkcos.node.zygote orders_fd reports_fd parent_pid open_files tally_fd [uid gid]``."""
    isolated = len(sys.argv) > 6
    if isolated:  # before anything else, and before the kernel is asked for a signal, which it would forget
        try:
            become(int(sys.argv[6]), int(sys.argv[7]))
        except PermissionError as error:
            sys.exit(f"the process that starts servers does not start: {error}")
    orders, reports, parent, open_files, tally_fd = (int(a) for a in sys.argv[1:6])
    set_open_files(open_files)
    warm_up()
    tls.preload()
    gc.collect()
    serve(orders, reports, parent, tally_fd, isolated)


def warm_up() -> None:
    """Import what every server needs, before the fork, and what a client's file of the same name would stand for."""
    for name in ("asyncio", "traceback", "psutil", "parkcos.net.network", "parkcos.cluster.shipping", "uvloop"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def serve(orders: int, reports: int, parent: int, tally_fd: int, isolated: bool = False) -> NoReturn:
    """Be a zygote: of these descriptors, and of the process with the id `parent`, which is a node."""
    printing.print_lines()
    printing.explain_crashes()
    sys.argv[:] = ["parkcos"]
    gc.freeze()  # what is there now stays, and need not be looked at when the client waits for its servers
    tally = Tally(tally_fd)
    os.close(tally_fd)
    Zygote(socket.socket(fileno=orders), reports, parent, tally, isolated).run()


def _lead_group(pid: int) -> None:
    """Make a server the leader of a process group.  It and the zygote both do, since either may be the first."""
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _close_all(descriptors: list[int]) -> None:
    for fd in descriptors:
        if fd >= 0:
            os.close(fd)
    descriptors.clear()
