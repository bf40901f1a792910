"""parkcos/kernel/channel.py."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parkcos.errors import ShippingError, UsageError
from parkcos.kernel import Channel, Task, operation
from tests.kernel.virtual import VirtualKernel


def collect(task=None):
    got = []
    while (message := (yield task.receive())) != "end":
        got.append(message)
    return got


def test_subscribe_send_unsubscribe(kernel):
    def main():
        channel = Channel("news")
        assert repr(channel) == "<Channel news>"
        assert channel.send("nobody") == 0
        tasks = [Task(collect), Task(collect)]
        for task in tasks:
            assert (yield channel.subscribe(task)) == 0
        assert (yield channel.subscribe(tasks[0])) == 0
        assert channel.send(1) == 0
        assert (yield channel.unsubscribe(tasks[0], timeout=1)) == 0
        assert (yield channel.unsubscribe(tasks[0])) == -1
        channel.send(2)
        for task in tasks:
            task.send("end")
        assert (yield tasks[0]()) == [1]
        assert (yield tasks[1]()) == [1, 2]
        assert (yield channel.subscribe(tasks[0])) == -1
        assert (yield channel.subscribe(7)) == -1

    kernel.main(main)


def test_dead_subscribers_are_dropped(kernel):
    def main():
        channel = Channel("news")
        task, alive = Task(collect), Task(collect)
        yield channel.subscribe(task)
        yield channel.subscribe(alive)
        task.terminate()
        yield task()
        assert (yield channel.deliver(1)) == 1
        assert (yield channel.unsubscribe(task)) == -1
        alive.terminate()
        yield alive()
        channel.send(2)
        assert channel._subscribers == {}

    kernel.main(main)


def test_transform(kernel, caplog):
    def main():
        channel = Channel("sum", lambda name, message: None if message < 0 else (name, message))
        task = Task(collect)
        yield channel.subscribe(task)
        channel.send(1)
        channel.send(-1)
        assert (yield channel.deliver(-1)) == 0
        assert (yield channel.deliver(2)) == 1
        assert channel.set_transform(lambda message: message) == -1
        assert channel.set_transform(7) == -1
        assert channel.set_transform(lambda name, message: 1 / 0) == 0
        channel.send(3)
        assert (yield channel.deliver(3)) == 0
        assert channel.set_transform(None) == 0
        channel.send(4)
        task.send("end")
        assert (yield task()) == [("sum", 1), ("sum", 2), 4]
        with pytest.raises(UsageError):
            Channel("x", lambda: 1)
        assert channel.set_transform(max) in (0, -1)

    kernel.main(main)
    assert "ZeroDivisionError" in caplog.text


def test_names(kernel, caplog):
    def main():
        assert Channel("--a-b").name == "a-b"
        for wrong in ("", "--", 7):
            with pytest.raises(UsageError):
                Channel(wrong)
        channel, other = Channel("c"), Channel("c")
        assert channel.register() == 0
        assert other.register() == -1
        assert (yield Channel.locate("c")) is channel
        assert channel.unregister() == 0
        assert channel.unregister() == -1
        assert other.register() == 0
        other.close()
        assert channel.register() == 0
        assert other.register() == -1
        assert len({channel, other}) == 2

    kernel.main(main)


def test_closed(kernel):
    def main():
        channel, above = Channel("c"), Channel("above")
        task = Task(collect)
        yield channel.subscribe(task)
        yield above.subscribe(channel)
        channel.close()
        assert channel.send(1) == -1
        assert (yield channel.deliver(1)) == -1
        assert (yield channel.subscribe(task)) == -1
        assert above.send(1) == 0
        assert above._subscribers == {}
        task.send("end")
        assert (yield task()) == []

    kernel.main(main)


def test_hierarchies(kernel, caplog):
    def main():
        top = Channel("top", lambda name, message: f"{name}:{message}")
        middle = Channel("middle", lambda name, message: f"{name}:{message}")
        tasks = [Task(collect) for _ in range(3)]
        yield top.subscribe(middle)
        yield top.subscribe(tasks[0])
        yield middle.subscribe(tasks[1])
        yield middle.subscribe(tasks[2])
        assert (yield top.deliver(1)) == 3
        top.send(2)
        assert (yield middle.subscribe(top)) == -1
        assert (yield top.subscribe(top)) == -1
        results = []
        for task in tasks:
            task.send("end")
            results.append((yield task()))
        assert results[0] == ["top:1", "top:2"]
        assert results[1] == results[2] == ["middle:top:1", "middle:top:2"]

    kernel.main(main)


def test_deliver_waits_for_n_subscribers(kernel):
    def subscribes(channel, delay, task=None):
        yield task.sleep(delay)
        yield channel.subscribe(task)
        return (yield task.receive())

    def main():
        start = kernel.now
        channel = Channel("c")
        tasks = [Task(subscribes, channel, delay) for delay in (1, 2, 3)]
        assert (yield channel.deliver("too early", timeout=1.5, n=2)) == 0
        assert (yield channel.deliver("m", n=2)) == 2
        assert kernel.now == start + 2
        assert (yield tasks[0]()) == (yield tasks[1]()) == "m"
        for wrong in (-1, "x"):
            assert (yield channel.deliver("m", n=wrong)) == -1
        assert channel._waiting == {}
        tasks[2].terminate()

    kernel.main(main)


class RemoteChannel(Channel):
    """As networking has it: answers a number, or raises at once or later what cannot be sent."""

    __slots__ = ("answer", "at_once")

    def __init__(self, kernel, answer, at_once=False):
        self.kernel, self.id, self.name = kernel, 0, "remote"
        self.answer, self.at_once = answer, at_once

    def send(self, message):
        if isinstance(self.answer, Exception):
            raise self.answer
        return 0

    def deliver(self, message, timeout=None, n=0):
        if self.at_once:
            raise self.answer
        return self._deliver()

    @operation
    def _deliver(self):
        yield
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_remote_subscribers_are_reached_by_their_deliver(kernel):
    def main():
        channel = Channel("c")
        for answer in (5, 0, -1):
            assert (yield channel.subscribe(RemoteChannel(kernel, answer))) == 0
        yield channel.subscribe(Task(collect))
        assert (yield channel.deliver("m", timeout=5)) == 6
        assert len(channel._subscribers) == 3

    kernel.main(main)


@pytest.mark.parametrize("at_once", [True, False])
def test_what_cannot_be_sent_is_an_error_of_the_sender_and_reaches_all_others(kernel, caplog, at_once):
    def main():
        channel = Channel("c")
        before, after = Task(collect), Task(collect)
        error = ShippingError("<object> cannot be sent")
        for subscriber in (before, RemoteChannel(kernel, error, at_once), RemoteChannel(kernel, 2), after):
            yield channel.subscribe(subscriber)
        with pytest.raises(ShippingError, match="cannot be sent"):
            yield channel.deliver("one")
        with pytest.raises(ShippingError, match="cannot be sent"):
            channel.send("two")
        assert len(channel._subscribers) == 4
        before.send("end")
        after.send("end")
        return (yield before()), (yield after())

    assert kernel.main(main) == (["one", "two"], ["one", "two"])
    assert not caplog.records


def test_send_from_a_thread(threaded):
    channel = Channel("c")
    ready = threading.Event()

    def subscribes(task=None):
        yield channel.subscribe(task)
        ready.set()
        return (yield task.receive())

    task = Task(subscribes)
    ready.wait()
    assert channel.send(5) == 0
    assert task.value() == 5


@given(st.lists(st.integers(0, 9)), st.integers(1, 4))
def test_each_subscriber_sees_all_messages_in_order(messages, subscribers):
    kernel = VirtualKernel()

    def main():
        channel = Channel("c")
        tasks = [Task(collect) for _ in range(subscribers)]
        for task in tasks:
            yield channel.subscribe(task)
        for message in messages:
            if message % 2:
                assert (yield channel.deliver(message)) == subscribers
            else:
                channel.send(message)
        channel.send("end")
        for task in tasks:
            assert (yield task()) == messages

    kernel.main(main)
