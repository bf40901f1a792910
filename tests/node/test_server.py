"""parkcos/node/server.py: how a task at a server is ended."""

from __future__ import annotations

import pickle
import signal
import threading
from collections.abc import Coroutine, Generator
from types import SimpleNamespace
from typing import Any

from parkcos.cluster import namespace
from parkcos.cluster import server_messages as sm
from parkcos.kernel import Kernel, Task, spaces
from parkcos.net.payload import PICKLE
from parkcos.net.tasks.exposed import Exposed
from parkcos.node import executor as ex
from parkcos.node.run_record import Running
from parkcos.node.server import Server


def test_what_a_task_does_to_clean_up_when_it_is_ended_is_not_interrupted() -> None:
    """The interrupt is meant for one that computes; the kernel's thread may be awake before it is asked for."""
    kernel = Kernel("server")
    server = Server.__new__(Server)  # that much of it as ends tasks
    server.kernel, server.lock, server.to_interrupt = kernel, threading.RLock(), set()
    begun, asked = threading.Event(), threading.Event()
    seen: list[str] = []

    def waits(task: Any = None) -> Generator[Any, Any, None]:
        try:
            kernel.post(ender.start)  # when this is at its yield
            yield task.sleep(60)
        finally:
            begun.set()
            try:
                asked.wait(10)
                seen.append("cleaned up")
            except KeyboardInterrupt:
                seen.append("interrupted")

    def end_it() -> None:
        with server.lock:  # as Server.handle does, in the I/O thread
            server._execute(ex.Close(1))
            begun.wait(0.2)
            server._execute(ex.Interrupt(1))
            asked.set()

    ender = threading.Thread(target=end_it)
    before = signal.signal(signal.SIGUSR1, server.interrupted)
    try:
        task: Task = kernel.spawn(waits)
        server.running = {1: Running(sm.RunTask(1, 1, "waits", io=False), PICKLE, b"", task)}
        task.add_end_callback(lambda _: kernel.terminate())
        kernel.run()
        ender.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == ["cleaned up"]
    assert task.outcome is not None and task.outcome.kind == "terminated"
    assert not server.to_interrupt


def test_a_server_that_gives_its_tasks_up_leaves_once() -> None:
    """It says goodbye; a second time would cut that short."""
    leaving: list[Coroutine[Any, Any, None]] = []
    fake: Any = SimpleNamespace(io=SimpleNamespace(loop=SimpleNamespace(create_task=leaving.append)))
    server = Server.__new__(Server)
    server.network, server.running, server.leaving = fake, {}, False
    for effect in (ex.Terminate(1), ex.Terminate(2), ex.GiveUp(3)):
        server._execute(effect)
    (left,) = leaving
    left.close()


def test_a_task_whose_code_is_of_no_space_is_in_the_one_it_was_asked_for_in() -> None:
    """Messages for it are opened there."""
    server = Server.__new__(Server)
    server.kernel, server.quick = Kernel("server"), {}
    server.config = SimpleNamespace(client=1)  # type: ignore[assignment]
    server.client_process = 2
    server.box = SimpleNamespace(post=lambda *_: None)  # type: ignore[assignment]
    server.network = SimpleNamespace(hub=SimpleNamespace(flush_dirty=lambda: None), exposed=Exposed())  # type: ignore[assignment]
    call = pickle.dumps((len, ([],), {}))
    try:
        for number in (0, 5):
            message = sm.RunTask(1, number, "len", io=False, plain=True, space=number)
            server.running = {number: Running(message, PICKLE, call)}
            server._start(number)
            task = server.running[number].task
            assert task is not None
            assert spaces.of_task(task) is (namespace.of(5) if number else None)
    finally:
        namespace.drop([5])
