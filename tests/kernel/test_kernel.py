"""parkcos/kernel/kernel.py and registry.py: starting, waiting, stopping; which kernel a thread has."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest

import parkcos.kernel.kernel
from parkcos.errors import ConfigError, TaskTerminated, UsageError, WouldHang
from parkcos.kernel import (
    Channel,
    Kernel,
    Task,
    cur_task,
    current_kernel,
    set_default_kernel_factory,
)
from tests.kernel.virtual import VirtualKernel


def endless(task=None):
    yield task.receive()


def daemon(task=None):
    task.set_daemon()
    yield task.receive()


# ---- waiting ----------------------------------------------------------------------------------------------------


def test_join_waits_for_all_but_daemons(threaded):
    Task(daemon)
    task = Task(endless)
    assert threaded.join(timeout_s=0) is False
    task.send(1)
    assert threaded.join(timeout_s=30) is True
    assert threaded.join() is True


def test_join_of_one_that_was_never_started():
    kernel = Kernel()
    assert kernel.join() is True
    kernel.spawn(endless)
    assert kernel.join(0) is False
    kernel.terminate()
    assert kernel.join() is True


def test_join_says_what_it_waits_for(threaded, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "parkcos")
    monkeypatch.setattr(parkcos.kernel.kernel, "_JOIN_LOG_S", 0.001)
    tasks = [Task(endless) for _ in range(12)]
    assert threaded.join(0.05) is False
    assert repr(tasks[0]) in caplog.text
    assert "and 2 more" in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.INFO}
    caplog.clear()
    threaded.join(0, show_running=True)
    assert repr(tasks[-1]) in caplog.text


def test_join_and_finish_inside_a_task_would_hang(kernel):
    def main():
        for fn in (kernel.join, kernel.finish):
            with pytest.raises(WouldHang):
                fn()
        yield

    kernel.main(main)


# ---- stopping ---------------------------------------------------------------------------------------------------


def test_finish_then_atexit_then_daemons(threaded):
    order = []

    def nondaemon(task=None):
        yield task.receive()
        order.append("task")

    def keeps(task=None):
        task.set_daemon()
        try:
            yield task.receive()
        finally:
            order.append("daemon")

    task, other = Task(nondaemon), Task(keeps)
    threaded.atexit(1, order.append, "low")
    threaded.atexit(5, order.append, "high")
    threaded.atexit(1, order.append, "low too")
    threaded.atexit(3, lambda: order.append(threading.get_ident() == threaded.ident))
    threaded.atexit(9, print)
    threaded.drop_atexit(9, print)
    threaded.drop_atexit(9, print)
    task.send(1)
    threaded.finish()
    assert order == ["task", "high", True, "low", "low too", "daemon"]
    assert not threaded.is_alive()
    assert not other.is_alive()
    assert other.outcome.kind == "terminated"
    assert not threaded._thread.is_alive()
    threaded.finish()
    threaded.terminate()


def test_a_failing_atexit_function_stops_nothing(kernel, caplog):
    seen = []
    kernel.atexit(2, lambda: 1 / 0)
    kernel.atexit(1, seen.append, 1)
    kernel.terminate()
    assert seen == [1]
    assert "ZeroDivisionError" in caplog.text


def test_terminate_closes_everything(threaded):
    closed = []

    def victim(task=None):
        try:
            yield task.sleep(100)
        finally:
            assert cur_task() is task
            closed.append(task)
            Task(endless)

    tasks = [Task(victim) for _ in range(3)]
    waiting = threading.Thread(target=tasks[0].value)
    waiting.start()
    threaded.post(threaded.ensure_network)  # fails, and harms nobody
    while not tasks[2]._wait:
        pass
    threaded.terminate()
    waiting.join(30)
    assert closed == tasks
    assert all(task.value().type is TaskTerminated for task in tasks)
    assert threaded.tasks() == []
    assert tasks[0].send(1) == -1
    assert tasks[0].future().exception(1).__class__ is TaskTerminated
    with pytest.raises(UsageError):
        threaded.spawn(endless)


def test_tasks_that_make_tasks_while_they_end_are_dropped(kernel, caplog):
    def grow(_):
        Task(endless).add_end_callback(grow)

    def main():
        grow(None)
        yield

    kernel.main(main)
    assert "dropped" in caplog.text


def test_terminate_inside_a_task_stops_after_the_round(kernel):
    seen = []

    def other():
        seen.append(1)
        yield
        seen.append(2)

    def main():
        Task(other)
        yield
        kernel.terminate()

    kernel.spawn(main)
    kernel.run()
    assert kernel.stopped
    assert seen == [1]
    for again in (kernel.run, kernel.start):
        with pytest.raises(UsageError):
            again()


def test_run_in_this_thread_and_stop_from_another():
    kernel = Kernel()
    task = kernel.spawn(endless)
    stopper = threading.Thread(target=kernel.terminate)
    kernel.post(stopper.start)
    kernel.run()
    stopper.join()
    assert task.outcome.kind == "terminated"
    assert current_kernel_of_this_thread() is None


def current_kernel_of_this_thread():
    from parkcos.kernel.registry import _kernels

    return _kernels.get(threading.get_ident())


def test_a_signal_handler_may_end_the_program_while_the_kernel_waits():
    kernel = Kernel("in this thread")

    def sends():
        while not kernel._sleeping:  # else the handler would run in the task, and end that
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: sys.exit(3))
    sender = threading.Thread(target=sends)
    try:
        task = kernel.spawn(sleeps)
        sender.start()
        with pytest.raises(SystemExit) as caught:
            kernel.run()
    finally:
        sender.join()
        signal.signal(signal.SIGUSR1, before)
    assert caught.value.code == 3
    assert kernel.stopped
    assert not task.is_alive()


def sleeps(task=None):
    yield task.sleep(60)


def test_start_twice():
    kernel = Kernel()
    kernel.start()
    with pytest.raises(UsageError):
        kernel.start()
    kernel.terminate()


def test_interrupt_spares_daemons(threaded):
    tasks = [Task(endless), Task(endless)]
    ready = threading.Event()

    def spare(task=None):
        task.set_daemon()
        ready.set()
        yield task.receive()

    spared = Task(spare)
    ready.wait()
    threaded.interrupt()
    for task in tasks:
        assert task.value().type is KeyboardInterrupt
    assert spared.is_alive()


def test_a_bug_in_the_kernel_is_survived(kernel, caplog):
    def main(task=None):
        kernel.timers.add = None
        kernel.post(kernel.call_later, 1, print)
        yield
        kernel._flushes.append(None)
        kernel.guard = None  # the next flush fails outside of every task
        yield
        del kernel.guard
        return 1

    kernel.__class__ = type("Patchable", (VirtualKernel,), {})
    kernel.timers = type("Patchable", (), {"heap": [], "next_when": lambda self: None})()
    assert kernel.main(main) == 1
    assert "the kernel has a bug" in caplog.text


# ---- which kernel -----------------------------------------------------------------------------------------------


def test_current_kernel_and_task():
    kernel = VirtualKernel()

    def main(task=None):
        assert current_kernel() is kernel
        assert cur_task() is task
        assert Task(endless).kernel is kernel
        yield

    assert cur_task() is None
    kernel.main(main)


def test_the_default_kernel_comes_from_the_factory():
    made = []

    def factory():
        kernel = Kernel(f"number {len(made)}")
        kernel.start()
        made.append(kernel)
        return kernel

    before = set_default_kernel_factory(factory)
    try:
        first = current_kernel()
        assert current_kernel() is first
        found = []
        thread = threading.Thread(target=lambda: found.append(current_kernel()))
        thread.start()
        thread.join()
        assert found == [first]
        first.terminate()
        second = current_kernel()  # a fresh one
        assert made == [first, second]
        second.terminate()
    finally:
        set_default_kernel_factory(before)


def test_two_kernels_wait_for_each_others_tasks(threaded):
    other = VirtualKernel(threads=True)

    def slow(task=None):
        return (yield task.receive())

    def main():
        task = threaded.spawn(slow)
        assert (yield task.finish(0)) is None
        task.send(5)
        assert (yield task.finish()) == 5
        assert (yield task.result()) == 5

    other.main(main)


# ---- networking -------------------------------------------------------------------------------------------------


class FakeNetwork:
    location = "here"

    def reduce_task(self, task):
        return str, (f"task {task.id}",)

    def reduce_channel(self, channel):
        return str, (f"channel {channel.name}",)

    def locate_task(self, name, location, timeout):
        yield
        return ("task", name, location, timeout)

    def locate_channel(self, name, location, timeout):
        yield
        return ("channel", name, location, timeout)


def test_without_networking_it_says_how_to_get_it(kernel):
    with pytest.raises(ConfigError, match=r"parkcos\.Parkcos\(\)"):
        kernel.ensure_network()

    def main(task=None):
        with pytest.raises(ConfigError):
            pickle.dumps(task)
        with pytest.raises(ConfigError):
            yield Task.locate("nobody")

    kernel.main(main)


def test_networking_is_made_once_when_it_is_needed(kernel):
    made = []
    kernel.network_factory = lambda: made.append(FakeNetwork()) or made[-1]

    def main(task=None):
        assert task.location is None
        assert pickle.loads(pickle.dumps(task)) == f"task {task.id}"
        assert task.location == "here"
        assert repr(task).endswith("@here")
        channel = Channel("c")
        assert pickle.loads(pickle.dumps(channel)) == "channel c"
        assert repr(channel) == "<Channel c@here>"
        assert (yield Task.locate("t", "there", 3)) == ("task", "t", "there", 3)
        assert (yield Task.locate("t")) == ("task", "t", None, None)
        assert (yield Channel.locate("c", timeout=1)) == ("channel", "c", None, 1)
        task.register("t")
        channel.register()
        assert (yield Task.locate("t")) is task
        assert (yield Task.locate("t", "here")) == ("task", "t", "here", None), "the network knows where it is"
        assert (yield Channel.locate("c")) is channel

    kernel.main(main)
    assert len(made) == 1


# ---- programs ---------------------------------------------------------------------------------------------------

PROGRAM = """
from parkcos.kernel import Task, current_kernel
import _thread, signal, sys, threading

started = threading.Barrier(3)

def worker(task=None):
    try:
        threading.Thread(target=started.wait).start()
        while (yield task.receive()) != "end":
            pass
        print("worker done", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)

def daemon(task=None):
    task.set_daemon()
    try:
        threading.Thread(target=started.wait).start()
        yield task.receive()
    finally:
        print("daemon closed", flush=True)

w = Task(worker)
Task(daemon)
current_kernel().atexit(1, print, "atexit")
started.wait()
"""


def run_program(end: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PROGRAM + end], capture_output=True, text=True, timeout=50)


def test_a_program_waits_at_its_end_for_its_tasks():
    done = run_program("threading.Timer(0.01, w.send, ['end']).start(); print('main ends', flush=True)")
    assert done.stdout.split("\n") == ["main ends", "worker done", "atexit", "daemon closed", ""]
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_in_the_main_program_interrupts_the_tasks():
    done = run_program("raise KeyboardInterrupt")
    assert done.stdout.split("\n") == ["interrupted", "atexit", "daemon closed", ""]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_while_the_program_waits_interrupts_the_tasks():
    done = run_program(
        "import os\n"
        "kernel = current_kernel()\n"
        "kernel.join = lambda join=kernel.join: (kernel.__dict__.pop('join', None),\n"
        "                                        os.kill(os.getpid(), signal.SIGINT), join())"
    )
    assert done.stdout.split("\n") == ["interrupted", "atexit", "daemon closed", ""]
