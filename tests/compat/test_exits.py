"""parkcos/compat/exits.py: what is registered after the runtime started goes before the wait for tasks."""

from __future__ import annotations

import subprocess
import sys

BEGINNING = """
import atexit, functools, os, sys, weakref
from parkcos.compat.exits import LaterHandlers
from parkcos.kernel import Event, Task
from parkcos.kernel.registry import current_kernel

def begin():
    current_kernel().before_wait = LaterHandlers().call
    return Task(server)

def server(task=None):
    message = yield task.receive()
    print("server ends:", message, flush=True)
"""


def run(body: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", BEGINNING + body], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines() + done.stderr.splitlines()[:1]


def test_a_handler_may_end_the_tasks_that_the_program_waits_for() -> None:
    assert run("""
atexit.register(print, "before the first task")
task = begin()

@atexit.register
def ends():
    print(ends is not None)
    task.send("stop")

atexit.register(functools.partial(print, "last"))
""") == ["last", "True", "server ends: stop", "before the first task"]


def test_what_handlers_and_tasks_register_is_called_too_and_once() -> None:
    lines = run("""
task = begin()

def more():
    task.send("stop")
    task.value()
    atexit.register(print, "more")

def late(task=None):
    yield
    atexit.register(print, "of a task")

Task(late).value()
atexit.register(more)
atexit.register(os.abort)
atexit.unregister(os.abort)
""")
    assert sorted(lines) == ["more", "of a task", "server ends: stop"]


def test_a_handler_that_fails_does_not_stop_the_others() -> None:
    lines = run("""
task = begin()
atexit.register(task.send, "stop")
atexit.register(lambda: 1 / 0)
""")
    assert lines[0] == "server ends: stop"
    assert "registered with atexit failed" in lines[1]


def test_handlers_of_python_itself_wait_for_the_tasks() -> None:
    assert run("""
class Folder:
    pass

task = begin()
folder = Folder()
weakref.finalize(folder, print, "removed")  # as a TemporaryDirectory does it
atexit.register(task.send, "stop")
""") == ["server ends: stop", "removed"]


def test_children_leave_the_handlers_to_their_parent() -> None:
    assert run("""
import multiprocessing

def child():
    def own(task=None):
        yield
        print("task of the child", flush=True)
    Task(own)

task = begin()
atexit.register(print, "of the parent", os.getpid() == os.getpid(), flush=True)
process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join()
task.send("stop")
task.value()
""") == ["task of the child", "server ends: stop", "of the parent True"]
