"""parkcos/net/runtime.py: the one runtime of a process; each test is a program of its own."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.secret import SECRET

pytestmark = pytest.mark.live

HEAD = """
import logging, sys, threading
logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
import parkcos
from parkcos import *

GIVEN = SECRET

def loopback(**options):
    options.setdefault("host", "127.0.0.1")
    options.setdefault("secret", GIVEN)
    options.setdefault("discover_peers", False)
    return Parkcos(**options)
""".replace("SECRET", repr(SECRET))


def program(body: str) -> list[str]:
    return [sys.executable, "-W", "error", "-c", HEAD + textwrap.dedent(body)]


def run(body: str, *args: str, home: Path | None = None) -> tuple[str, str]:
    """Run a program to its end.  Returns: what it printed, and its log."""
    environ = dict(os.environ)
    if home is not None:
        environ["HOME"] = str(home)
        environ["XDG_CONFIG_HOME"] = str(home / "config")
    done = subprocess.run([*program(body), *args], capture_output=True, text=True, timeout=50, env=environ)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout, done.stderr


def test_one_per_process() -> None:
    out, _ = run(
        """
        first = loopback(name="mine")
        assert Parkcos() is first is Parkcos.instance()
        assert first.name == "mine"
        assert first.location.addr == "127.0.0.1"
        try:
            Parkcos(name="other")
        except ConfigError as error:
            print(error)
        first.terminate()
        """
    )
    assert "has started with other options" in out


def test_no_network_without_need() -> None:
    out, log = run(
        """
        def main(task=None):
            yield task.sleep(0)
            print(threading.active_count(), Parkcos.instance().kernel.network)
        Task(main)
        """
    )
    threads = 11 if sys.version_info[:2] == (3, 12) else 2  # there they must be started early
    assert out == f"{threads} None\n"
    assert "uses address" not in log


@pytest.mark.parametrize("cut_short", [False, True])
def test_no_loop_outlives_the_interpreter(cut_short: bool) -> None:
    """uvloop would be a segmentation fault: in a program without any task, and in one whose end was cut short."""
    out, _ = run(
        """
        import atexit
        atexit.register(lambda: print([t.name for t in threading.enumerate() if t.name == "parkcos-io"]))
        runtime = loopback()
        print(runtime.location.port > 0)
        if sys.argv[1:]:
            runtime.start()
            runtime.kernel.terminate = lambda: None
        """,
        *["cut short"] * cut_short,
    )
    assert out == "True\n[]\n"


def test_files_names_and_threads_when_the_main_part_has_ended(tmp_path: Path) -> None:
    """On Python 3.12 no thread starts then."""
    file = tmp_path / "sent.txt"
    file.write_text("a sample")
    out, _ = run(
        """
        import asyncio
        from parkcos.kernel import Kernel
        from parkcos.net.iothread import IOThread
        from parkcos.net.network import Network
        from parkcos.net.options import NetworkOptions
        from parkcos.net.trust.secret import cluster_keys

        async def several():
            return sum(await asyncio.gather(*(asyncio.to_thread(abs, -n) for n in range(20))))

        async def look_up(host):
            return len(await asyncio.get_running_loop().getaddrinfo(host, 80)) > 0

        def main(task=None):
            while not threading._SHUTTING_DOWN:
                yield task.sleep(0.01)
            print((yield io(several())), (yield io(look_up("localhost"))), (yield io(look_up("127.0.0.1"))))
            sent = yield Parkcos().send_file(there.location, sys.argv[1])
            print(sent, (there.files.dest_path / "sent.txt").read_text())
            there.close()
            there.io.close()
            there.kernel.terminate()

        there = Network(Kernel(), IOThread(), NetworkOptions(
            host="127.0.0.1", version="1", discover=False, keys=cluster_keys(GIVEN, None)))
        there.kernel.start()
        there.io.start()
        there.start()
        loopback()
        Task(main)
        """,
        str(file),
        home=tmp_path,
    )
    assert out == "190 True True\n0 a sample\n"


def test_the_first_use_of_the_network_in_a_coroutine_is_refused_in_words() -> None:
    out, _ = run(
        """
        async def uses(use):
            try:
                use()
            except WouldHang as error:
                return str(error)

        def main(task=None):
            for use in (task.register, loopback, lambda: Parkcos().location, lambda: Channel("c").__reduce__()):
                print((yield io(uses(use))))
            task.unregister()
            loopback()
            print((yield io(uses(lambda: print(Parkcos().location.addr)))))
        Parkcos.instance()
        parkcos.run(main)
        """
    )
    *refused, addr, last = out.splitlines()
    assert "".join(refused).count("cannot be in a coroutine of io()") == 4
    assert [addr, last] == ["127.0.0.1", "None"]


def test_a_coroutine_may_ask_for_the_runtime_while_another_thread_starts_the_network() -> None:
    out, _ = run(
        """
        from parkcos.net.options import NetworkOptions
        inside, in_coroutine = threading.Event(), threading.Event()

        def make(network):  # the I/O thread is not free yet when the network waits for it
            assert in_coroutine.wait(20)
            inside.set()
            try:
                Parkcos.instance().configure(options)
            except ConfigError as error:
                print(error)

        async def asks():
            in_coroutine.set()
            assert inside.wait(20)
            return Parkcos.instance() is runtime

        runtime = Parkcos.instance()
        options = NetworkOptions(host="127.0.0.1", version="1", discover=False)
        asked = runtime.io.run(asks())
        runtime.start_network(options, make)
        print(asked.result(20))
        runtime.terminate()
        """
    )
    assert out == "the network of this process has started already\nTrue\n"


def test_io_when_the_main_part_has_ended() -> None:
    out, _ = run(
        """
        async def add(a, b):
            return a + b

        def main(task=None):
            while threading.main_thread().is_alive() and task.kernel.clock() < end:
                yield task.sleep(0.01)
            print((yield parkcos.io(add(1, 2))))

        import time
        end = time.monotonic() + 1
        Task(main)
        """
    )
    assert out == "3\n"


def test_the_program_waits_for_its_tasks() -> None:
    out, _ = run(
        """
        def main(task=None):
            yield task.sleep(0.05)
            print("done")
        def daemon(task=None):
            task.set_daemon()
            yield task.sleep(1000)
        Task(daemon)
        Task(main)
        print("end of script")
        """
    )
    assert out == "end of script\ndone\n"


def test_after_the_end_another_begins() -> None:
    out, _ = run(
        """
        def main(n, task=None):
            yield task.sleep(0)
            return n
        first = loopback()
        assert Task(main, 1).value() == 1
        parkcos.terminate()
        second = loopback(name="second")
        assert second is not first
        assert Task(main, 2).value() == 2
        assert second.location != first.location or True
        print(second.name)
        """
    )
    assert out == "second\n"


def test_the_secret_is_made_on_first_use(tmp_path: Path) -> None:
    body = """
        runtime = Parkcos(host="127.0.0.1", discover_peers=False)
        runtime.terminate()
        """
    run(body, home=tmp_path)
    (path,) = [p for p in tmp_path.rglob("secret") if p.is_file()]
    made = path.read_text()
    assert len(made.strip()) >= 8
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    run(body, home=tmp_path)
    assert path.read_text() == made


def test_without_a_secret_it_is_loopback(tmp_path: Path) -> None:
    out, _ = run(
        """
        runtime = Parkcos(no_secret=True, discover_peers=False)
        print(runtime.location.addr)
        runtime.terminate()
        """,
        home=tmp_path,
    )
    assert out == "127.0.0.1\n"
    assert not list(tmp_path.rglob("secret"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("secret=''", "empty secret"),
        ("secret='short'", "at least 16 characters"),
        ("secret='abcabcabcabcabcabc'", "too easy to guess"),
        ("no_secret=True, cluster='lab'", "cluster='lab' goes with a secret"),
        ("cluster='two\\nlines'", "cannot be called"),
        ("secret='long enough', no_secret=True", "either a secret or no_secret"),
        ("host='no.such.host.invalid'", "no.such.host.invalid"),
        ("host='127.0.0.1', tcp_port={port}", "{port}"),
        ("host='127.0.0.1', tcp_port=({port}, {port})", "{port}"),
        ("host='127.0.0.1', tcp_port=65536", "65536 is not a TCP port"),
        ("host='127.0.0.1', tcp_port=-1", "-1 is not a TCP port"),
        ("host='127.0.0.1', udp_port=0", "0 cannot be the UDP port"),
        ("host='127.0.0.1', udp_port=65535", "65535 cannot be the UDP port"),
        ("host='127.0.0.1', udp_port='a port'", "'a port' cannot be the UDP port"),
        ("host='127.0.0.1', pulse_s=0", "pulse_s=0"),
        ("host='127.0.0.1', name='two\\nlines'", "is not a name"),
    ],
)
def test_options_that_cannot_be_used_are_said_at_once(options: str, words: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        given = f"secret={SECRET!r}, " * ("secret" not in options) + options.format(port=port)
        out, _ = run(
            f"""
            try:
                Parkcos({given})
            except ConfigError as error:
                print(error)
            """
        )
    assert words.format(port=port) in out


def test_the_first_free_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as freed:
        ports = taken.getsockname()[1], freed.getsockname()[1]
        freed.close()
        out, log = run(f"print(loopback(tcp_port={ports!r}).location.port)")
    assert int(out) == ports[1]
    assert f"TCP port {ports[1]}" in log
    assert log.count("uses address") == 1


def test_io() -> None:
    out, _ = run(
        """
        import asyncio
        async def fetch(x):
            await asyncio.sleep(0.001)
            if x < 0:
                raise ValueError("negative")
            return x * 2, threading.current_thread().name
        cancelled = threading.Event()
        async def endless():
            try:
                await asyncio.sleep(1000)
            finally:
                cancelled.set()
        def main(task=None):
            double, thread = yield parkcos.io(fetch(4))
            assert double == 8 and thread == "parkcos-io", thread
            try:
                yield parkcos.io(fetch(-1))
            except ValueError as error:
                print(error)
            try:
                parkcos.io(fetch)
            except UsageError as error:
                print(error)
        async def also():
            return (await parkcos.io(fetch(5)))[0]
        def forever(task=None):
            started.set()
            yield parkcos.io(endless())
        Task(main).value()
        print(Task(also).value())
        started = threading.Event()
        waiting = Task(forever)
        started.wait()
        waiting.terminate()
        assert cancelled.wait(20)
        """
    )
    assert out.splitlines() == ["negative", out.splitlines()[1], "  write: x = yield parkcos.io(fetch(url))", "10"]
    assert "io() wants a coroutine" in out


def test_peer_wants_a_location() -> None:
    out, _ = run(
        """
        runtime = loopback()
        try:
            runtime.peer("127.0.0.1")
        except UsageError as error:
            print(error)
        """
    )
    assert "wants a Location" in out
    assert "write: yield " in out


def test_atexit_in_order() -> None:
    out, _ = run(
        """
        runtime = loopback()
        for priority, word in ((1, "second"), (5, "first"), (1, "third")):
            parkcos.atexit(priority, print, word)
        def main(task=None):
            yield task.sleep(0)
            print("task")
        Task(main)
        """
    )
    assert out.split() == ["task", "first", "second", "third"]


def test_two_programs() -> None:
    """Locate by place, exchange references and messages, and see the other end."""
    server = subprocess.Popen(
        program(
            """
            def serve(task=None):
                task.register("server")
                while True:
                    client, n = yield task.receive()
                    if n is None:
                        break
                    client.send(n + 1)
            runtime = loopback(name="server")
            Task(serve)
            print(runtime.location.port, flush=True)
            """
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        out, _ = run(
            """
            location = Location("127.0.0.1", int(sys.argv[1]))
            runtime = loopback(name="client")
            def main(task=None):
                assert (yield runtime.peer(location)) == 0
                assert runtime.peers() == [location]
                assert (yield runtime.locate("server", 20)) == location
                runtime.peer_status(task)
                status = yield task.receive()
                assert (status.name, status.status) == ("server", PeerStatus.Online)
                there = yield Task.locate("server", location, 20)
                total = 0
                for n in range(100):
                    there.send((task, n))
                    total += yield task.receive()
                assert (yield task.monitor(there)) == 0
                there.send((task, None))
                ends = [(yield task.receive()), (yield task.receive())]  # in either order
                monitored, offline = sorted(ends, key=lambda status: type(status).__name__)
                assert monitored.type is StopIteration and monitored.info == there, monitored
                assert offline.status == PeerStatus.Offline, offline
                print(total, (yield there.finish()))
            Task(main)
            """,
            port,
        )
        assert out == f"{sum(range(1, 101))} None\n"
        _, errors = server.communicate(timeout=30)
        assert server.returncode == 0, errors
        assert "Traceback" not in errors
    finally:
        if server.poll() is None:
            server.kill()
            server.communicate()


def test_run_is_the_whole_program() -> None:
    out, _ = run("""
        def doubles(n, task=None):
            yield task.sleep(0.01)
            return 2 * n

        def main():
            try:
                parkcos.run(doubles, 1)
            except WouldHang as error:
                print(str(error).splitlines()[-1].strip())
            yield
            sys.exit("no data")

        print(parkcos.run(doubles, n=21))
        try:
            parkcos.run(main)
        except SystemExit as error:
            print(error.code)
        try:
            parkcos.run(len, "abc")
        except NotATask as error:
            print("NotATask", error)
    """)
    lines = out.splitlines()
    assert lines[:3] == ["42", "write: x = yield Task(fn, ...).result()", "no data"]
    assert lines[3].startswith("NotATask len")
