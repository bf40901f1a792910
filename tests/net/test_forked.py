"""parkcos/kernel/forked.py and parkcos/net/forked.py: programs that fork while they use parkcos."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from tests.secret import SECRET

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
]

HEAD = """
import logging, multiprocessing, os, signal, sys, threading, time
logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(message)s")
import parkcos
from parkcos import *

def code_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def loopback():
    return Parkcos(host="127.0.0.1", secret=SECRET, discover_peers=False)
""".replace("SECRET", repr(SECRET))


def run(body: str) -> tuple[list[str], str]:
    """Run a program to its end.  Returns: what it printed, and what it wrote to its standard error."""
    options = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]
    program = [sys.executable, *options, "-c", HEAD + textwrap.dedent(body)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


ENDS = {
    "return": ("return", 0, ""),
    "return after words": ("print('words'); return 7", 0, ""),
    "raise": ("raise ValueError('of the child')", 1, "ValueError: of the child"),
    "sys.exit": ("sys.exit(5)", 5, ""),
    "sys.exit in words": ("sys.exit('no sample')", 1, "no sample"),
    "os._exit": ("os._exit(6)", 6, ""),
    "yield": ("yield", 1, "came to a yield"),
    "sleep": ("yield task.sleep(0.01)", 1, "came to a yield"),
    "receive": ("yield task.receive()", 1, "came to a yield"),
    "sub-call": ("yield sub()", 1, "came to a yield"),
    "value": ("yield 5", 1, "came to a yield"),
}


@pytest.mark.parametrize("kernel", ["thread", "main thread", "network"])
def test_a_child_of_a_task_ends_and_is_no_second_kernel(kernel: str) -> None:
    cases = "".join(
        f"""
def case_{number}(task=None):
    pid = os.fork()
    if pid == 0:
        {line}
    print({name!r}, code_of(pid), flush=True)
    yield

cases.append(case_{number})
"""
        for number, (name, (line, _, _)) in enumerate(ENDS.items())
    )
    out, log = run(
        "cases = []"
        + cases
        + f"""
def sub():
    print("a sub-call of a child", flush=True)
    yield

def other(task=None):
    while True:
        print(os.getpid(), flush=True)
        yield task.sleep(0.01)

def main(task=None):
    if {kernel == "network"!r}:
        task.register("main")
    running = Task(other)
    yield task.sleep(0.05)
    try:
        for case in cases:
            yield Task(case).result()
            yield task.sleep(0.02)
    finally:
        print("cleaned up by", os.getpid(), flush=True)
    running.terminate()

print("I am", os.getpid(), flush=True)
if {kernel == "network"!r}:
    loopback()
if {kernel == "main thread"!r}:
    from parkcos.kernel import Kernel
    mine = Kernel()
    mine.spawn(main).add_end_callback(lambda _: mine.terminate())
    mine.run()
else:
    parkcos.run(main)
"""
    )
    me = out[0].split()[-1]
    assert {line for line in out if line.isdigit()} == {me}
    assert [line for line in out if line.startswith("cleaned")] == [f"cleaned up by {me}"]
    for name, (_, code, words) in ENDS.items():
        assert f"{name} {code}" in out
        assert words in log
    assert log.count("came to a yield") == sum(words == "came to a yield" for _, _, words in ENDS.values())
    assert out.count("words") == 1
    assert "a sub-call of a child" not in out


def test_the_child_of_a_sub_call_ends_at_its_return() -> None:
    out, log = run(
        """
        def sub():
            if os.fork() == 0:
                return 1
            yield
            return 2

        def raises():
            if os.fork() == 0:
                sys.exit(9)
            yield

        def main():
            for work in (sub, raises):
                try:
                    yield work()
                finally:
                    print("cleaned up", flush=True)
                pid, status = os.wait()
                print(os.waitstatus_to_exitcode(status), flush=True)

        parkcos.run(main)
        """
    )
    assert out == ["cleaned up", "1", "cleaned up", "9"]
    assert log.count("came to a yield") == 1


@pytest.mark.parametrize("where", ["main", "task"])
def test_a_pool_of_processes(where: str) -> None:
    """With tasks, sessions and a loop in the parent, and parkcos used in the children."""
    out, log = run(
        f"""
        def square(x):
            return x * x

        def with_tasks(x):
            def work(task=None):
                yield task.sleep(0.001)
                return x * x
            return parkcos.run(work)

        def with_network(x):
            def work(task=None):
                task.register("work")
                assert (yield Task.locate("work")) is not None
                return x * x
            return parkcos.run(work)

        def pools():
            for fn in (square, with_tasks, with_network):
                prepare = loopback if fn is with_network else None
                with multiprocessing.get_context("fork").Pool(2, prepare) as pool:
                    assert pool.map(fn, range(4)) == [0, 1, 4, 9]

        def main(task=None):
            task.register("main")
            echo = Task(answers)
            for _ in range(3):
                if {where == "task"!r}:
                    pools()
                echo.send(task)
                assert (yield task.receive(10)) == "here"
            echo.send(None)

        def answers(task=None):
            while (asker := (yield task.receive())) is not None:
                asker.send("here")

        loopback()
        running = Task(main)
        if {where == "main"!r}:
            pools()
        assert running.value() is None
        print("good")
        """
    )
    assert out == ["good"] and not log, log


def test_a_child_of_the_main_thread_that_uses_the_parents_things_is_told_so() -> None:
    out, log = run(
        """
        def sleeps(task=None):
            try:
                task.register("sleeps")
                yield task.receive()
            finally:
                print("cleaned up by the", "parent" if os.getpid() == parent else "child", flush=True)

        parent = os.getpid()
        runtime = loopback()
        task = Task(sleeps)
        io = runtime.io
        reference = parkcos.net.tasks.remote_task.RemoteTask(runtime.network, Location("127.0.0.1", 9), 5, 6, "far")
        pid = os.fork()
        if pid == 0:
            for use in (lambda: task.send(1), lambda: task.terminate(), lambda: task.value(), lambda: task.future(),
                        lambda: reference.send(1), lambda: io.run(print), lambda: runtime.kernel.spawn(sleeps)):
                try:
                    use()
                    print("nothing", flush=True)
                except UsageError as error:
                    print("the process from which this one was forked" in str(error), flush=True)
            assert Parkcos() is not runtime
            assert runtime.join() is True
            sys.exit(4)
        print(code_of(pid), flush=True)
        task.send(2)
        task.value()
        """
    )
    assert out == ["True"] * 7 + ["4", "cleaned up by the parent"], log


def test_a_child_leaves_the_sessions_of_its_parent_alone() -> None:
    """The child ends while messages go on; and one that lives on keeps no connection open."""
    out, log = run(
        """
        from tests.net.cluster_of_networks import Cluster, WAIT_S
        with Cluster() as cluster:
            a, b = cluster.place("a"), cluster.place("b")

            def echo(task=None):
                while True:
                    sender, message = yield task.receive()
                    if message is None:
                        return
                    sender.send(message)

            there = a.reference(b.spawn(echo))
            here, go_on = os.pipe()

            def asks(task=None):
                pids = []
                for i in range(60):
                    there.send((task, i))
                    if i % 20 == 10:
                        pid = os.fork()
                        if pid == 0:
                            if i == 10:
                                return
                            if i == 30:
                                sys.exit(0)
                            os.close(go_on)
                            os.read(here, 1)  # it lives until the parent lets it go
                            os._exit(0)
                        pids.append(pid)
                    assert (yield task.receive(WAIT_S)) == i
                there.send((task, None))
                return pids

            pids = a.run(asks)
            print([code_of(pid) for pid in pids[:2]])
            location = a.network.location
            gone = threading.Event()
            b.network.hub.callbacks.gone.append(lambda peer, reason: gone.set())
            a.kill()
            assert gone.wait(8), "the child keeps its parent's connection"
            import socket
            with socket.create_server((location.addr, location.port)):
                print("the port is free")
            os.close(go_on)
            print(code_of(pids[2]))
        """
    )
    assert out == ["[0, 0]", "the port is free", "0"], log


def test_a_child_waits_for_tasks_of_its_own() -> None:
    out, log = run(
        """
        def later(task=None):
            yield task.sleep(0.2)
            print("later, in the child", flush=True)

        def main():
            if os.fork() == 0:
                Task(later)
                return
            print(os.waitstatus_to_exitcode(os.wait()[1]))
            yield

        parkcos.run(main)
        pid = os.fork()
        if pid == 0:
            Task(later)
            sys.exit(3)
        print(code_of(pid))
        """
    )
    assert out == ["later, in the child", "0", "later, in the child", "3"] and not log, log
