"""Spaces in one process: parkcos/cluster/namespace.py, own_imports.py, kernel/spaces.py, net/in_space.py."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import os
import pickle
import sys
import traceback
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from parkcos.cluster import namespace, shared
from parkcos.cluster.definitions import Definition
from parkcos.cluster.shipping import Shipper
from parkcos.errors import ShippingError
from parkcos.kernel import Channel, Kernel, MonitorStatus, Outcome, Task, spaces
from parkcos.net.payload import dumps, join, loads
from parkcos.net.tasks import outcomes

JOB = """
import functools, typing
from dataclasses import dataclass
from enum import Enum
from helper import scale, Error

N = {n}
T = typing.TypeVar("T")
count = 0
table = []

@dataclass
class Point:
    x: int
    def moved(self): return Point(self.x + N)

class Base:
    kinds = []
class Derived(Base):
    base = Base
Base.kinds = [Derived]

class Colour(Enum):
    RED = {n}

@functools.cache
def cached(): return N

def work(x):
    global count
    count += 1
    return scale(x) + N, count

def makes(): return Point(N), Derived(), Colour.RED, T, cached, work, Point.moved
def kinds(): return Base.kinds, Derived.base, Base
def fails(): raise Error(N, Point(N))
def receives(point): return type(point) is Point and point.moved()
def imports():
    import helper
    from helper import scale as other
    import os.path, email.message
    from email import mime, charset
    import __main__
    return helper.scale is scale is other, os.path is not None, mime, __main__
def lacks():
    from helper import nothing
def task(task=None):
    yield
    return N
def keeps(thing):
    table.append(thing)
loose = dict(__name__="elsewhere")
exec("def by_exec():\\n import helper\\n return helper.scale(1)", loose)
by_exec = loose["by_exec"]
def calls_loose(): return by_exec(), scale, by_exec
lambda_ = [lambda x: (N, x)]
def by_lambda(): return lambda_[0](1)
"""
HELPER = """
class Error(Exception):
    def __init__(self, n, point):
        super().__init__(f"it is {{n}}")
        self.point = point
FACTOR = {n}
def scale(x):
    return x * FACTOR
def relative():
    from . import inner
    from .inner import value
    return inner.value, value
"""


@dataclass
class Program:
    """Its module `job`, as it is in that program, and what packs its calls."""

    job: Any
    helper: Any
    shipper: Shipper

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Its modules are found."""
        before = {name: sys.modules.get(name) for name in ("job", "helper")}
        sys.modules.update(job=self.job, helper=self.helper)
        try:
            yield
        finally:
            for name, module in before.items():
                if module is None:
                    del sys.modules[name]
                else:
                    sys.modules[name] = module

    def pack(self, name: str, *args: Any) -> tuple[int, bytes, list[Definition]]:
        with self.running():
            form, buffers, definitions = self.shipper.pack_call(getattr(self.job, name), args, {})
        return form, bytes(join(buffers)), definitions

    def opens(self, obj: Any) -> Any:
        """What it gets when a server sends this."""
        form, buffers = dumps(obj)
        with self.running():
            return loads(form, join(buffers))


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Program]]:
    """Two that have the same names in them."""
    made = []
    for n in (10, 200):
        folder = tmp_path / "programs"
        folder.mkdir(exist_ok=True)
        (folder / "job.py").write_text(JOB.format(n=n))
        (folder / "helper.py").write_text(HELPER.format(n=n))
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(folder))
            patch.setattr(sys, "dont_write_bytecode", True)
            job = importlib.import_module("job")
            made.append(Program(job, sys.modules["helper"], Shipper()))
        del sys.modules["job"], sys.modules["helper"]
        importlib.invalidate_caches()
    yield made
    namespace.drop(list(namespace._others))
    gc.collect()


def run(number: int, program: Program, name: str, *args: Any) -> Any:
    """What a call returns in the space with this number."""
    form, payload, definitions = program.pack(name, *args)
    space = namespace.of(number)
    space.install(definitions)
    fn, given, kwargs = space.loads(form, payload)
    return fn(*given, **kwargs)


def test_the_same_names_in_two_spaces_do_not_meet(programs: list[Program]) -> None:
    for turn in range(1, 4):
        assert run(1, programs[0], "work", 3) == (40, turn)
        assert run(2, programs[1], "work", 3) == (800, turn), "and what a task has assigned stays"
    assert not {"job", "helper"} & sys.modules.keys()


def test_classes_in_a_circle_and_loose_functions(programs: list[Program]) -> None:
    for number, program in enumerate(programs, 1):
        kinds, base, found = run(number, program, "kinds")
        assert kinds == [namespace.of(number).modules["job"].Derived] and base is found
        assert run(number, program, "by_lambda") == (program.job.N, 1)
        value, _, by_exec = run(number, program, "calls_loose")
        assert value == program.job.N and spaces.of_function(by_exec) is namespace.of(number)


def test_what_comes_home_is_of_the_programs_own_classes(programs: list[Program]) -> None:
    for number, program in enumerate(programs, 1):
        point, derived, colour, variable, cached, work, moved = program.opens(run(number, program, "makes"))
        job = program.job
        assert point == job.Point(job.N) and type(point) is job.Point and type(derived) is job.Derived
        assert (colour, variable, cached, work, moved) == (
            job.Colour.RED, job.T, job.cached, job.work, job.Point.moved,
        )  # fmt: skip


def test_what_is_sent_to_a_space_is_of_its_classes(programs: list[Program]) -> None:
    for number, program in enumerate(programs, 1):
        assert run(number, program, "receives", program.job.Point(1)).x == program.job.N + 1
        with program.running():
            form, buffers = dumps([program.job.Point(5), bytes(100_000)])
            with_lambda = dumps([program.job.Point(6), lambda: scale(1)])  # noqa: F821
        there = namespace.of(number).modules["job"].Point
        assert type(namespace.of(number).loads(form, join(buffers))[0]) is there
        point, function = namespace.of(number).loads(with_lambda[0], join(with_lambda[1]))
        assert type(point) is not program.job.Point and spaces.of_function(function) is namespace.of(number)


def test_a_class_of_one_program_in_two_spaces_is_two_classes(programs: list[Program]) -> None:
    """cloudpickle knows a class that comes again; the second space would be given the first one's."""
    program = programs[0]
    first, second = run(1, program, "makes"), run(2, program, "makes")
    for one, other in zip(first[:3], second[:3], strict=True):
        assert type(one) is not type(other)
    assert [program.opens(each)[0] for each in (first, second)] == [program.job.Point(10)] * 2

    class Local:
        pass

    with program.running():
        packed = program.shipper.pack((Local, Local()))
    there = [namespace.of(number).loads(packed[0], join(packed[1])) for number in (1, 2)]
    assert there[0][0] is not there[1][0] and type(there[0][1]) is there[0][0]
    for kind, instance in there:
        home = program.opens((kind, instance))
        assert home[0] is Local and type(home[1]) is Local, "it is known again where it came from"


def test_exceptions_come_home(programs: list[Program]) -> None:
    for number, program in enumerate(programs, 1):
        with pytest.raises(Exception, match="it is") as caught:
            run(number, program, "fails")
        kind, form, buffers = outcomes.pack(Outcome("failed", None, caught.value, "it failed"))
        with program.running():
            outcome = outcomes.unpack(kind, form, join(buffers), "there")
        error: Any = outcome.exception
        assert type(error) is program.helper.Error and error.point == program.job.Point(program.job.N)
        status = program.opens(MonitorStatus(None, type(caught.value), None, caught.value))
        assert status.type is type(status.exception) is program.helper.Error
        wrapped = ValueError(namespace.of(number).modules["job"].Point(1))
        kind, form, buffers = outcomes.pack(Outcome("failed", None, wrapped, "it failed"))
        with program.running():
            outcome = outcomes.unpack(kind, form, join(buffers), "there")
        assert isinstance(outcome.exception, ValueError) and outcome.exception.args == (program.job.Point(1),)


def test_imports_find_the_modules_of_the_space_first(programs: list[Program]) -> None:
    for number, program in enumerate(programs, 1):
        same, path, mime, main = run(number, program, "imports")
        assert same and path
        assert mime is sys.modules["email.mime"]
        assert main is namespace.of(number).modules["__main__"] is not sys.modules["__main__"]
        with pytest.raises(ImportError, match="cannot import name 'nothing' from 'helper'"):
            run(number, program, "lacks")


def test_imports_that_are_relative_or_of_packages() -> None:
    space = namespace.of(3)
    try:
        for name, source in {
            "email.of_space": "value = 7",  # beside those of an installed package
            "pack.inner": "value = 8",
            "pack.module": "def f():\n from . import inner\n from .inner import value\n import pack.inner as other\n"
            " import email.of_space, email.mime\n return inner, value, other, email.of_space.value, email.mime\n",
        }.items():
            exec(source, space.module_globals(name))
        space.modules["pack.module"].__package__ = "pack"
        inner = space.modules["pack.inner"]
        found = space.resolve("pack.module", "f")()
        assert found[:4] == (inner, 8, inner, 7)
        assert found[4] is importlib.import_module("email.mime")
        assert not hasattr(sys.modules["email"], "of_space")
        with pytest.raises(ImportError, match="beyond top-level"):
            exec("from ... import x", {**space.module_globals("pack.module")})
    finally:
        namespace.drop([3])


def test_pickle_itself_knows_no_spaces(programs: list[Program]) -> None:
    """So the user is told by pickle; a message or a result is pickled by its name."""
    point = run(1, programs[0], "makes")[0]
    with pytest.raises(Exception, match=r"job"):
        pickle.dumps(point)


def test_what_is_not_there_says_so(programs: list[Program]) -> None:
    space = namespace.of(1)
    run(1, programs[0], "work", 1)
    with pytest.raises(ShippingError, match=r"job\.other is not at this server: use it in a function of its space"):
        space.resolve("job", "other")


def test_tracebacks_show_the_lines_of_each(programs: list[Program]) -> None:
    """Both programs were the file job.py, one after the other, with other lines."""
    packed = [program.pack("fails") for program in programs]
    for number, (form, payload, definitions) in enumerate(packed, 1):
        space = namespace.of(number)
        space.install(_with_remark(each, f"  # of {number}\n") for each in definitions)
        fn, args, _ = space.loads(form, payload)
        with pytest.raises(Exception, match="it is") as caught:
            fn(*args)
        shown = "".join(traceback.format_exception(caught.value))
        assert f"raise Error(N, Point(N))  # of {number}" in shown
        assert ("[space 2]" in shown) == (number == 2)


def _with_remark(definition: Definition, remark: str) -> Definition:
    sources = [msgspec.structs.replace(each, text=each.text.rstrip() + remark) for each in definition.sources]
    return msgspec.structs.replace(definition, sources=tuple(sources))


def test_a_space_that_is_dropped_is_forgotten(programs: list[Program]) -> None:
    class Big:
        pass

    form, payload, definitions = programs[0].pack("keeps", 0)
    space = namespace.of(1)
    space.install(definitions)
    fn, _, _ = space.loads(form, payload)
    big = Big()
    fn(big)
    gone, kept = weakref.ref(big), weakref.ref(space)
    run(2, programs[1], "work", 1)
    del big, fn, space
    gc.collect()
    assert gone() is not None
    namespace.drop([1, 77])
    gc.collect()
    assert gone() is None and kept() is None
    assert run(2, programs[1], "work", 1) == (400, 2)


def test_what_runs_in_a_dropped_space_goes_on(programs: list[Program]) -> None:
    point = run(1, programs[0], "makes")[0]
    namespace.drop([1])
    assert programs[0].opens(point.moved()) == programs[0].job.Point(20)


def test_shared_objects_are_of_the_classes_of_the_space(
    programs: list[Program], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = programs[0]
    with program.running():
        made = program.shipper.share([program.job.Point(4)])
        form, buffers, definitions = program.shipper.pack_call(program.job.receives, (made,), {})
    (tmp_path / made.digest).write_bytes(os.pread(made.fileno(), made.size, 0))
    store = shared.Store(tmp_path)
    monkeypatch.setattr(shared, "store", store)
    found = []
    for number in (1, 2):
        space = namespace.of(number)
        space.install(definitions)
        found.append(space.loads(form, join(buffers))[1][0])
        assert type(found[-1][0]) is space.modules["job"].Point
    assert space.loads(form, join(buffers))[1][0] is found[1]
    assert len(store._kept) == 2
    shared.drop(numbers=[1])
    assert list(store._kept) == [(made.digest, 2)]
    shared.drop([made.digest])
    assert not store._kept


def test_which_space_a_task_is_in(programs: list[Program]) -> None:
    form, payload, definitions = programs[0].pack("task")
    space = namespace.of(1)
    space.install(definitions)
    fn, _, _ = space.loads(form, payload)
    kernel = Kernel("spaces")
    seen: list[Any] = []

    def outside(task: Any = None) -> Any:
        seen.append(spaces.of_task(task))
        child = Task(fn)  # of the space by its code
        seen.append(spaces.of_task(child))
        task._rarely().space = space
        seen.append(Channel("of_space")._space)
        result = yield fn()
        assert result == (yield child.finish()) == 10

    kernel.spawn(outside).add_end_callback(lambda _: kernel.terminate())
    kernel.run()
    assert seen == [None, space, space]
    assert spaces.of_function(fn) is space and spaces.of_function(outside) is None
    assert spaces.home_of(functools.cache(functools.partial(len))) is None, "it has no name"
    assert spaces.of_function(seen.append) is None and spaces.of_function(int) is None
