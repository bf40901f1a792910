"""Code that travels: what a client may send, how it lives at a server, and what comes home."""

from __future__ import annotations

import functools
import linecache
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

import parkcos
from parkcos import Client, Task
from tests.live import carried
from tests.live.carried import Base, Colour, Derived, Point, doubled
from tests.live.lib import ends, run, with_client

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("cluster")]

Gen = Generator[Any, Any, Any]

counter = 0
table: dict[str, int] = {}


def remote(fn: Any, *args: Any, components: Any = ()) -> Any:
    """The result of ``fn(*args)`` as a remote task."""

    def body(client: Client) -> Gen:
        return (yield (yield client.rtask(fn, *args)).result())

    return with_client(body, components)


# -- what may be run


def test_functions_of_all_kinds() -> None:
    def closure(n: int) -> Any:
        def inner(m: int) -> Gen:
            yield
            return n + m

        return inner

    async def coroutine(n: int, task: Any = None) -> int:
        await task.sleep(0)
        return n + 1

    class Local:
        def __init__(self, n: int) -> None:
            self.n = n

        def method(self, m: int) -> Gen:
            yield
            return self.n + m

        @classmethod
        def of_class(cls, m: int) -> Gen:
            yield
            return cls(m).n

        def __call__(self, m: int) -> Gen:
            yield
            return self.n - m

    def generates(f: Any) -> Gen:
        yield
        return f(20)

    def body(client: Client) -> Gen:
        values = []
        for fn, args in (
            (closure(1), (2,)),
            (coroutine, (3,)),
            (Local(4).method, (1,)),
            (Local.of_class, (6,)),
            (Local(8), (1,)),
            (functools.partial(generates, lambda x: x - 12), ()),
            (generates, (doubled,)),
            (lambda x: (yield x), (9,)),
        ):
            values.append((yield (yield client.rtask(fn, *args)).result()))
        return values

    assert with_client(body) == [3, 4, 5, 6, 7, 8, 40, 9]


def test_an_instance_comes_home_as_the_clients_class() -> None:
    class Inner(Derived):
        def total(self) -> int:
            return super().total() + 100

    def changes(things: list[Any]) -> Gen:
        yield
        point, derived, inner, colour = things
        assert isinstance(inner, Base)
        assert type(inner).__mro__[1] is Derived
        return [point.moved(1), Derived(derived.total(), 1), inner.total(), inner, Colour.GREEN, colour is Colour.RED]

    point, derived, total, inner, colour, same = remote(changes, [Point(1, 2), Derived(3, 4), Inner(5, 6), Colour.RED])
    assert point == Point(2, 3, ["moved"])
    assert type(point) is Point
    assert type(derived) is Derived
    assert derived.total() == 8
    assert total == 111
    assert type(inner) is Inner
    assert isinstance(inner, Base)
    assert colour is Colour.GREEN
    assert same is True


def uses_module(n: int) -> Gen:
    yield
    return carried.doubled(n), carried.Base(n).total(), carried.__name__


@pytest.mark.parametrize("components", [[carried], [uses_module, carried]])
def test_module(components: Any) -> None:
    assert remote(uses_module, 4, components=components) == (8, 4, "tests.live.carried")


def test_function_of_an_unlisted_module() -> None:
    def calls(n: int) -> Gen:
        yield
        return doubled(n), Derived(n, 1).total()

    assert remote(calls, 3) == (6, 4)


def test_module_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unlisted.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import unlisted  # type: ignore[import-not-found]

    def uses() -> Gen:
        yield
        return unlisted.value

    try:
        with pytest.raises(parkcos.ParkcosError, match=r"unlisted.*components"):
            remote(uses)
        assert remote(uses, components=[unlisted]) == 1
    finally:
        del sys.modules["unlisted"]


def test_relative_imports_in_a_function_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package travels as files, and where its function travels alone, which then lacks the other module."""
    package = tmp_path / "bpackage"
    (package / "sub").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "consts.py").write_text("OFFSET = 100\n")
    (package / "sub" / "__init__.py").write_text("")
    helper = "def shifted(n):\n    from ..consts import OFFSET\n    yield\n    return n + OFFSET\n"
    (package / "sub" / "helper.py").write_text(helper)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import bpackage.sub.helper  # type: ignore[import-not-found]

    shifted = bpackage.sub.helper.shifted
    try:
        assert remote(shifted, 8, components=[bpackage]) == 108
        with pytest.raises(ModuleNotFoundError, match=r"No module named 'bpackage\.consts'") as caught:
            remote(shifted, 8)
        assert "list it in the client's components" in caught.value.__notes__[-1]
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "bpackage"]:
            del sys.modules[name]


def test_package_file_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "apackage"
    (package / "sub").mkdir(parents=True)
    (package / "__init__.py").write_text("from apackage.sub.deep import value\n")
    (package / "sub" / "__init__.py").write_text("")
    (package / "sub" / "deep.py").write_text("value = 42\n")
    (package / "data.txt").write_text("of the package")
    (tmp_path / "here" / "inner" / "tree").mkdir(parents=True)
    (tmp_path / "here" / "inner" / "tree" / "b.txt").write_text("b")
    (tmp_path / "here" / "inner" / "a.txt").write_text("a")
    (tmp_path / "else.txt").write_text("e")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend(str(tmp_path))
    import apackage  # type: ignore[import-not-found]

    def looks() -> Gen:
        import apackage

        yield
        folder = Path(apackage.__file__).parent
        found = {str(p.relative_to(folder.parent)) for p in folder.parent.rglob("*.txt")}
        return apackage.value, (folder / "data.txt").read_text(), found, sys.modules["__main__"].__name__

    try:
        value, text, found, main = remote(
            looks, components=[apackage, "inner/a.txt", tmp_path / "else.txt", "inner/tree"]
        )
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "apackage"]:
            del sys.modules[name]
    assert (value, text, main) == (42, "of the package", "__main__")
    assert found == {"a.txt", "else.txt", "tree/b.txt", "apackage/data.txt"}


def test_links_and_empty_folders_of_a_component(tmp_path: Path) -> None:
    (tmp_path / "tree" / "empty").mkdir(parents=True)
    (tmp_path / "tree" / "current").symlink_to("run.7")
    (tmp_path / "tree" / "run.7").mkdir()
    (tmp_path / "tree" / "run.7" / "a.txt").write_text("a")
    (tmp_path / "tree" / "out.txt").symlink_to("../else.txt")
    (tmp_path / "else.txt").write_text("e")

    def looks() -> Gen:
        yield
        tree = Path("../tree")
        return os.readlink(tree / "current"), (tree / "out.txt").read_text(), (tree / "empty").is_dir()

    assert remote(looks, components=[tmp_path / "tree"]) == ("run.7", "e", True)


def test_missing_component_is_named() -> None:
    def main() -> Gen:
        with pytest.raises(parkcos.UsageError, match=r"no_such_file\.txt"):
            yield Client(["no_such_file.txt"]).schedule()

    run(main)


# -- globals


def adds(n: int) -> Gen:
    global counter
    yield
    counter += n
    table[str(n)] = n
    return counter, dict(table), os.getpid()


def looks_at_globals() -> Gen:
    yield
    return counter, dict(table)


def test_a_global_lives_as_long_as_its_client() -> None:
    def body(client: Client) -> Gen:
        yield (yield client.rtask(looks_at_globals)).result()
        (server, *_) = yield client.servers()
        totals = []
        for n in (1, 2, 3):
            rtask = yield client.rtask_at(server, adds, n)
            totals.append((yield rtask.result())[0])
        assert totals == [1, 3, 6]
        assert (yield (yield client.rtask_at(server, looks_at_globals)).result()) == (6, {"1": 1, "2": 2, "3": 3})

    with_client(body)
    with_client(body)
    assert counter == 0


def test_a_global_that_the_client_replaces_arrives() -> None:
    def body(client: Client) -> Gen:
        global counter
        seen = []
        yield (yield client.rtask(looks_at_globals)).result()
        (server, *_) = yield client.servers()
        for value in (10, 20, 10):
            counter = value
            rtask = yield client.rtask_at(server, looks_at_globals)
            seen.append((yield rtask.result())[0])
        return seen

    global counter
    try:
        assert with_client(body) == [10, 20, 10]
    finally:
        counter = 0


one_limit = another_limit = 12345


def uses_one() -> Gen:
    yield
    return one_limit


def uses_another() -> Gen:
    yield
    return another_limit


def test_equal_values_under_two_names_that_are_needed_one_after_the_other() -> None:
    def body(client: Client) -> Gen:
        yield (yield client.rtask(looks_at_globals)).result()
        (server, *_) = yield client.servers()
        for fn in (uses_one, uses_another):
            assert (yield (yield client.rtask_at(server, fn)).result()) == 12345

    with_client(body)


def fails_deep(n: int) -> Gen:
    yield
    return carried.Base(n).missing  # type: ignore[attr-defined]


def shows_traceback(fn: Any, n: int) -> Gen:
    try:
        yield fn(n)
    except AttributeError:
        return traceback.format_exc()


class Fails:
    def __call__(self, n: int) -> Gen:
        return (yield fails_deep(n))


@pytest.mark.parametrize("kind", ["global", "closure", "method", "component"])
def test_a_traceback_names_file_line_and_source(kind: str, tmp_path: Path) -> None:
    """At the server, too, where there is no such file: in its log, in what it prints."""
    source = "\n\nclass Base: ...\n\n\ndef fails(n):\n    yield\n    return Base.missing  # here\n"
    path = tmp_path / "fails.py"
    path.write_text(source)
    names: dict[str, Any] = {"__name__": "fails"}
    exec(compile(source, path, "exec"), names)
    linecache.getlines(str(path))
    path.unlink()

    def closure(n: int) -> Gen:
        return (yield names["fails"](n))

    fn = {"global": names["fails"], "closure": closure, "method": Fails(), "component": fails_deep}[kind]
    file, line = (str(path), len(source.splitlines())) if kind in ("global", "closure") else (__file__, 0)
    if not line:
        line = fails_deep.__code__.co_firstlineno + 2
    components = [carried, fails_deep, Fails] if kind == "component" else []
    text = remote(shows_traceback, fn, 3, components=components)
    with pytest.raises(AttributeError) as caught:
        remote(fn, 3, components=components)
    for words in (text, "\n".join(caught.value.__notes__)):
        assert f'File "{file}", line {line}, in fail' in words
        assert ("return Base.missing  # here" if file != __file__ else "return carried.Base(n).missing") in words


class Unusual(Exception):
    def __init__(self, code: int, *, why: str) -> None:
        super().__init__(f"{code}: {why}")
        self.code = code


def raises_unusual(holds: Any = None) -> Gen:
    yield
    error = Unusual(3, why="because")
    error.holds = holds() if holds else None  # type: ignore[attr-defined]
    raise error


def test_an_exception_comes_home_as_what_it_is() -> None:
    with pytest.raises(Unusual, match="3: because") as caught:
        remote(raises_unusual)
    assert caught.value.code == 3
    assert "raise error" in caught.value.__notes__[-1]


def test_exception_that_cannot_travel() -> None:
    with pytest.raises(parkcos.RemoteTaskError, match=r"Unusual.*3: because"):
        remote(raises_unusual, threading.Lock)


# -- setup


def sets_up_node() -> Gen:
    global counter
    counter = 1000
    yield
    return 0


def sets_up_server() -> Gen:
    global table
    yield
    table = {"pid": os.getpid()}
    return 0


def both_at(to: Any, task: Any = None) -> Gen:
    to.send((counter, table.get("pid") == os.getpid(), os.getpid()))
    return (yield task.receive())


def test_setup_of_node_and_servers() -> None:
    def body(client: Client) -> Gen:
        me = parkcos.cur_task()
        assert me is not None
        rtasks = []
        for _ in range(2):
            rtasks.append((yield client.rtask(both_at, me)))
        seen = []
        for rtask in rtasks:
            seen.append((yield me.receive(20)))
            rtask.send("done")
        assert (yield ends(rtasks)) == ["done"] * 2
        return seen

    seen = with_client(body, node_setup=sets_up_node, server_setup=sets_up_server)
    assert [s[:2] for s in seen] == [(1000, True)] * 2
    assert seen[0][2] != seen[1][2]


def returns_one() -> Gen:
    yield
    return 1


def divides() -> Gen:
    yield 1 / 0


def kills_its_process() -> Gen:
    yield
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"node_setup": kills_its_process}, "was killed by signal 9, while it .* ran its node_setup"),
        ({"node_setup": returns_one}, "node_setup returned 1"),
        ({"node_setup": divides}, "ZeroDivisionError"),
        ({"server_setup": returns_one}, "server_setup returned 1"),
        ({"server_setup": divides}, "ZeroDivisionError"),
        ({"server_setup": kills_its_process}, "was killed by signal 9"),
    ],
)
def test_setup_that_fails(options: Any, words: str, caplog: pytest.LogCaptureFixture) -> None:
    """The client is told, whoever waits for a server too, and nothing runs there."""
    told: list[Any] = []

    def status(task: Any = None) -> Gen:
        while True:
            told.append((yield task.receive()))

    def submits(client: Client) -> Gen:
        with pytest.raises(parkcos.TaskAbandoned, match=words):
            yield client.rtask(looks_at_globals)
        return "raised"

    def main() -> Gen:
        me = parkcos.cur_task()
        assert me is not None
        watcher = Task(status)
        client = Client(status_task=watcher, **options)
        yield client.schedule()
        submitter = Task(submits, client)
        while not any(re.search(words, getattr(m, "reason", "")) for m in told):
            yield me.sleep(0.01)
        assert (yield submitter()) == "raised"
        assert (yield client.servers()) == []
        yield client.close()
        watcher.terminate()
        yield watcher()

    run(main)
    assert re.search(words, caplog.text)
    assert remote(looks_at_globals) == (0, {}), "the node is used again"
