"""A task is reached by those that were given a reference to it, and by nobody else."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from parkcos.kernel import Task
from parkcos.net import wire
from parkcos.net.payload import dumps
from parkcos.net.tasks.exposed import ID_BITS, SECRET_BITS, Exposed, id_of
from parkcos.net.tasks.requests import Requests
from tests.net.cluster_of_networks import Cluster, Place

opened: list[str] = []


def leave(mark: str) -> None:
    opened.append(mark)


class Opened:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return leave, (self.mark,)


@pytest.fixture(autouse=True)
def nothing_is_open() -> None:
    opened.clear()


def waits(place: Place) -> Task:
    def wait(task: Any = None) -> Any:
        task.set_daemon()
        while True:
            yield task.receive()

    return place.spawn(wait)


def everything_for(number: int) -> list[wire.Message]:
    """All that can be said to a task with this number."""
    form, buffers = dumps(Opened("payload"))
    payload = memoryview(b"".join(buffers))
    return [
        wire.ToTask(payload, form, False, number),
        wire.DeliverToTask(payload, form, False, number, 901),
        wire.Observe(number, 902),
        wire.End(number),
    ]


def say(sender: Place, receiver: Place, messages: list[wire.Message]) -> None:
    """Say this, and wait until it was handled."""
    peer = sender.peer_of(receiver)
    assert peer is not None
    for message in messages:
        peer.post(message)
    sender.run(
        lambda: (yield sender.network.peer(receiver.location, 10.0))
    )  # a question, whose answer comes after them


def test_its_number_in_its_process_is_not_enough(cluster: Cluster) -> None:
    """It is a small one, which can be guessed."""
    victim, mallory = cluster.place("victim"), cluster.place("mallory")
    task = waits(victim)
    mallory.run(lambda: (yield mallory.network.peer(victim.location, 10.0)))
    say(mallory, victim, everything_for(task.id))
    assert opened == []
    assert task.is_alive()


def test_a_reference_that_was_given_to_somebody_else_does_not_help(cluster: Cluster) -> None:
    victim, friend, mallory = (cluster.place(name) for name in ("victim", "friend", "mallory"))
    task = waits(victim)
    reference = friend.reference(task)
    mallory.run(lambda: (yield mallory.network.peer(victim.location, 10.0)))
    for number in (task.id, reference._number - 1, reference._number + 1):
        say(mallory, victim, everything_for(number))
    assert opened == []
    assert task.is_alive()
    friend.call(lambda: reference.send(Opened("friend")))
    friend.run(lambda: (yield friend.network.peer(victim.location, 10.0)))
    assert opened == ["friend"]


def test_who_was_told_of_it_by_somebody_who_was_may(cluster: Cluster) -> None:
    victim, friend, third = (cluster.place(name) for name in ("victim", "friend", "third"))
    task = waits(victim)
    handed_on = third.reference(friend.reference(task))
    third.call(lambda: handed_on.send(Opened("third")))
    third.run(lambda: (yield third.network.peer(victim.location, 10.0)))
    assert opened == ["third"]
    third.call(handed_on.terminate)
    task.future().exception(10.0)


def test_a_node_says_nothing_to_tasks(cluster: Cluster) -> None:
    """Not even to one whose number it knows."""
    victim = cluster.place("victim")
    node = cluster.place("node", roles=("node",))
    task = waits(victim)
    reference = node.reference(task)
    node.run(lambda: (yield node.network.peer(victim.location, 10.0)))
    say(node, victim, everything_for(reference._number))
    assert opened == []
    assert task.is_alive()
    program = cluster.place("program")
    program.run(lambda: (yield program.network.peer(victim.location, 10.0)))
    say(program, victim, everything_for(reference._number))
    assert opened == ["payload", "payload"], "a program that has it does"
    task.future().exception(10.0)


def test_what_a_node_answers_is_not_opened(cluster: Cluster) -> None:
    """Who looks for a task asks everybody."""
    asks = cluster.place("asks")
    finds = {}
    for role in ("node", "peer"):
        place = cluster.place(role, roles=(role,))
        place.call(waits(place).register, role)
        asks.run(lambda place=place: (yield asks.network.peer(place.location, 10.0)))
        finds[role] = asks.run(lambda role=role: (yield asks.network.locate_task(role, None, None)))
    assert finds["node"] is None
    assert finds["peer"] is not None


def test_an_answer_is_taken_from_who_was_asked() -> None:
    class There:
        def __init__(self) -> None:
            self.itself = self

        def post(self, message: Any) -> bool:
            return True

    asked: Any = There()
    other: Any = There()
    requests, heard = Requests(), []
    number = requests.add(asked, heard.append)
    answer = wire.Answer(wire.EMPTY, 0, False, number, 1)
    requests.answered(other, answer)
    assert heard == []
    requests.answered(asked, answer)
    assert heard == [answer]
    requests.answered(asked, answer)
    assert heard == [answer], "once"
    withdrawn = requests.add(asked, heard.append)
    requests.withdraw(withdrawn)
    requests.answered(other, wire.Answer(wire.EMPTY, 0, False, withdrawn, 1))
    assert withdrawn in requests._withdrawn


@pytest.mark.usefixtures("often")
def test_threads_that_pickle_one_task_at_once_give_it_one_number(cluster: Cluster) -> None:
    """And nothing is left of it when it has ended."""
    place = cluster.place("place")
    exposed = place.network.exposed
    for _ in range(30):
        tasks = [waits(place) for _ in range(20)]
        begin = threading.Barrier(4)

        def pickle_all(tasks: list[Task] = tasks, begin: threading.Barrier = begin) -> list[tuple[int, bool]]:
            begin.wait()
            return [exposed.number_of(task) for task in tasks]

        with ThreadPoolExecutor(4) as pool:
            found = [future.result() for future in [pool.submit(pickle_all) for _ in range(4)]]
        for numbers in zip(*found, strict=True):
            assert len({number for number, _ in numbers}) == 1
            assert [new for _, new in numbers].count(True) == 1
        assert len(exposed.live) == 20
        for task, (number, _) in zip(tasks, found[0], strict=True):
            exposed.end(number)
            task.terminate()
    for task in (ended := [waits(place) for _ in range(20)]):
        place.network.reduce_task(task)
        task.terminate()
        task.future().exception(10.0)
    place.call(lambda: None)
    assert exposed.live == {}
    assert len({task._number for task in ended}) == 20


def test_numbers_cannot_be_guessed() -> None:
    """But for the id, by which people know a task on both sides."""
    exposed = Exposed()
    tasks = [SimpleNamespace(id=5) for _ in range(2000)]
    numbers = [exposed.begin(task) for task in tasks]  # type: ignore[arg-type]
    assert {id_of(number) for number in numbers} == {5}
    secrets = [number >> ID_BITS for number in numbers]
    assert len(set(secrets)) == 2000
    for bit in range(SECRET_BITS):
        assert 800 < sum(secret >> bit & 1 for secret in secrets) < 1200
    assert max(numbers) < 2**63
