"""Every kind of callable and class at a real server, and everything odd that may be raised on the way."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

import parkcos
from parkcos import Client
from tests.live import kinds
from tests.live.lib import run, with_client

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("cluster")]

Gen = Generator[Any, Any, Any]


@pytest.mark.parametrize("components", [[], [kinds], [kinds.checks, kinds.values, kinds.runs, kinds.gives_back]])
def test_kinds(components: list[Any]) -> None:
    """As what a program defines, sent when it is needed or listed; and as a module that the servers import."""

    def body(client: Client) -> Gen:
        wrong: dict[str, Any] = {}
        for name, check in kinds.checks().items():
            try:
                found = yield (yield client.rtask(kinds.runs, check)).result()
            except Exception as error:
                wrong[name] = error
                continue
            if found != (expected := kinds.checks()[name]()):
                wrong[name] = found, expected
        for name, value in kinds.values().items():
            try:
                found = yield (yield client.rtask(kinds.gives_back, value)).result()
            except Exception as error:
                wrong[f"home: {name}"] = error
                continue
            same = found is value or (type(found) is type(value) and (found == value or str(found) == str(value)))
            if not same:
                wrong[f"home: {name}"] = found
        return wrong

    assert with_client(body, components) == {}


# -- whatever is raised while something is packed or opened


def raises(error: BaseException) -> Any:
    raise error


class Odd:
    """when: "packed" or "opened"; then it raises `error`, or says nonsense of itself."""

    def __init__(self, when: str, error: BaseException | None) -> None:
        self.when, self.error = when, error

    def __reduce__(self) -> Any:
        if self.when == "packed":
            if self.error is not None:
                raise self.error
            return "no", "such", "thing"
        return raises, (self.error,)

    def __call__(self) -> Gen:
        return (yield self)


class Unsaid(Exception):
    def __str__(self) -> str:
        raise ValueError("it has no text")


def deep() -> Any:
    found: Any = None
    for _ in range(100_000):
        found = [found]
    return found


ODD: dict[str, Any] = {
    "SystemExit": SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "GeneratorExit": GeneratorExit(),
    "BaseException": BaseException("a panic"),
    "Unsaid": Unsaid(),
    "nonsense": None,
}


def takes(value: Any) -> Gen:
    yield
    return "taken"


def makes(name: str, when: str, outcome: str) -> Gen:
    """At the server: what is odd is its result, or what it raises."""
    yield
    odd = Odd(when, ODD[name])
    if outcome == "raises":
        raise Holds(odd)
    return odd if name != "deep" else deep()


class Holds(Exception):
    def __init__(self, thing: Any) -> None:
        super().__init__("it holds something")
        self.thing = thing


def listens(to: Any, task: Any = None) -> Gen:
    to.send(task)
    while (message := (yield task.receive())) is None:
        pass
    return message


@pytest.mark.parametrize("name", ODD)
def test_whatever_is_raised_ends_that_task_with_the_reason(name: str) -> None:
    """At client and server; the server goes on, as does the client."""
    reason = "PicklingError" if name == "nonsense" else "Unsaid" if name == "Unsaid" else name

    def body(client: Client) -> Gen:
        me = parkcos.cur_task()
        assert me is not None
        first = yield client.rtask(getpid)
        server, pid = first.location, (yield first.result())
        packed, opened = Odd("packed", ODD[name]), Odd("opened", ODD[name] or ValueError("PicklingError"))
        with pytest.raises(parkcos.ShippingError, match=rf"argument 1: .*{reason}"):
            yield client.rtask_at(server, takes, packed)
        with pytest.raises(parkcos.RemoteError, match=f"takes cannot be run: .*{reason}"):
            yield client.rtask_at(server, takes, opened)
        with pytest.raises(parkcos.ShippingError, match=f"the function: .*{reason}"):
            yield client.rtask_at(server, packed)
        for when in ("packed", "opened") if name != "nonsense" else ("packed",):
            for outcome in ("returns", "raises"):
                rtask = yield client.rtask_at(server, makes, name, when, outcome)
                with pytest.raises((parkcos.ShippingError, parkcos.RemoteTaskError)) as caught:
                    yield rtask.result()
                words = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
                assert reason in words, (when, outcome)
                assert outcome == "returns" or "Holds: it holds something" in words
        rtask = yield client.rtask_at(server, listens, me)
        there = yield me.receive()
        with pytest.raises(parkcos.ShippingError, match=reason):
            there.send(packed)
        assert there.send(opened) == 0
        with pytest.raises(parkcos.ShippingError, match=reason):
            yield there.deliver(packed)
        there.send("enough")
        assert (yield rtask.result()) == "enough"
        assert (yield (yield client.rtask_at(server, getpid)).result()) == pid, "it is the same server"

    with_client(body, [Odd, takes, makes, listens, getpid])


def getpid() -> Gen:
    yield
    return os.getpid()


def test_what_is_nested_too_deep() -> None:
    def body(client: Client) -> Gen:
        with pytest.raises(parkcos.ShippingError, match=r"argument 1: .*recursion"):
            yield client.rtask(takes, deep())
        with pytest.raises(parkcos.ShippingError, match="recursion"):
            yield (yield client.rtask(gives_deep)).result()

    with_client(body)


def gives_deep() -> Gen:
    yield
    return deep()


odd_global = Odd("opened", SystemExit(6))


def uses_odd_global(task: Any = None) -> Gen:
    yield
    return odd_global.when


def imports_what_exits() -> Gen:
    import exits_at_import  # type: ignore[import-not-found]

    yield exits_at_import
    return 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"node_setup": Odd("opened", SystemExit(4))}, "node_setup cannot be run: .*SystemExit: 4"),
        ({"server_setup": Odd("opened", KeyboardInterrupt())}, "server_setup cannot be run: .*KeyboardInterrupt"),
        ({"node_setup": uses_odd_global}, "'odd_global' is not at this server: .*SystemExit: 6"),
        ({"server_setup": uses_odd_global}, "'odd_global' is not at this server: .*SystemExit: 6"),
        ({"node_setup": imports_what_exits}, "SystemExit: 7"),
        ({"server_setup": imports_what_exits}, "SystemExit: 7"),
    ],
)
def test_a_setup_ends_with_the_reason(
    options: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "exits_at_import.py").write_text("import sys\nsys.exit(7)\n")
    monkeypatch.chdir(tmp_path)

    def main() -> Gen:
        client = Client(["exits_at_import.py"], **options)
        yield client.schedule()
        with pytest.raises(parkcos.TaskAbandoned, match=words):
            yield client.rtask(getpid)
        yield client.close()

    run(main)
