"""parkcos/cluster/shared.py with shipping.py: what stands for a shared object in calls, and what opens it."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import sys
import tempfile
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from parkcos.cluster import namespace, shared
from parkcos.cluster.blobs import Blob
from parkcos.cluster.definitions import DATA as DATA_KIND
from parkcos.cluster.definitions import SHARED, Definition
from parkcos.cluster.shared import InFile, Store, make_file
from parkcos.cluster.shipping import Shipper
from parkcos.errors import ShippingError
from parkcos.net.payload import join, loads


class Model:
    """Of the client's program."""

    def __init__(self, weights: Any) -> None:
        self.weights = weights

    def total(self) -> Any:
        return self.weights.sum() + offset()


def offset() -> int:
    return 5


def uses(data: Any) -> Any:
    return data


def uses_global() -> Any:
    return DATA


DATA: Any = None


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """That of this process, as at a server."""
    shared.open_at(tmp_path)
    assert shared.store is not None
    yield shared.store
    shared.store = None


def shared_in(definitions: list[Definition]) -> list[str]:
    return [each.name for each in definitions if each.kind == SHARED]


def put(folder: Path, given: InFile) -> None:
    """As the node has it."""
    (folder / given.digest).write_bytes(os.pread(given.fileno(), given.size, 0))


# at the client


def test_it_is_what_it_was_when_it_was_shared() -> None:
    array, names = np.arange(10**5), ["a"]
    given = Shipper().share({"array": array, "names": names})
    array[0], names[0] = 99, "b"
    got = given.get()
    assert got["array"][0] == 0
    assert got["names"] == ["a"]
    assert given.get() is got
    assert str(given) == "dict of 781 KiB"


def test_equal_objects_have_one_digest() -> None:
    shipper = Shipper()
    assert shipper.share([1, 2]).digest == shipper.share([1, 2]).digest != shipper.share([2, 1]).digest


def test_its_file_is_closed_when_nobody_has_it_any_more() -> None:
    descriptor = (given := Shipper().share("x")).fileno()
    assert os.fstat(descriptor).st_nlink == 0, "nothing is left behind by a program that is killed"
    del given
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_copy_is_the_same() -> None:
    given = Shipper().share("x")
    assert copy.deepcopy([copy.copy(given)])[0] is given


def test_no_file_can_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(ShippingError, match=r"a shared str needs a file of .* in .*missing, .* TMPDIR"):
        Shipper().share("x")


def test_what_no_node_would_keep_is_refused_as_it_is_shared() -> None:
    data = np.zeros(10**5, np.uint8)
    size = Shipper().share(data).size
    assert Shipper().share(data, size).size == size
    with pytest.raises(ShippingError, match=r"^ndarray of 97.8 KiB cannot be shared: a node keeps 97.8 KiB"):
        Shipper().share(data, size - 1)


def test_what_cannot_be_pickled_is_named() -> None:
    with pytest.raises(ShippingError, match=r"<dict>\['a'\]\[1\] cannot be sent: lock object"):
        Shipper().share({"a": [1, threading.Lock()]})


# what a call needs


def test_a_call_names_the_shared_objects_in_its_arguments() -> None:
    shipper = Shipper()
    one, two = shipper.share(np.arange(10**6)), shipper.share("two")
    _, buffers, definitions = shipper.pack_call(uses, ([one, {"k": two}, one],), {})
    assert sorted(shared_in(definitions)) == sorted([one.digest, two.digest])
    assert len(join(buffers)) < 500


def test_a_call_names_those_in_the_globals_and_closures_of_its_function(monkeypatch: pytest.MonkeyPatch) -> None:
    shipper = Shipper()
    one, two = shipper.share("one"), shipper.share("two")
    monkeypatch.setattr(sys.modules[__name__], "DATA", [one])
    assert shared_in(shipper.pack_call(uses_global, (), {})[2]) == [one.digest]
    monkeypatch.setattr(sys.modules[__name__], "DATA", two)
    assert shared_in(shipper.pack_call(uses_global, (), {})[2]) == [two.digest]
    assert shared_in(shipper.pack_call(lambda: one, (), {})[2]) == [one.digest]


def test_what_the_object_itself_needs_comes_along() -> None:
    shipper = Shipper()
    given = shipper.share(Model(np.arange(3)))
    names = {each.name for each in shipper.pack_call(uses, (given,), {})[2]}
    assert names >= {"uses", given.digest, "Model", "offset"}


def test_only_calls_of_its_own_client_carry_it() -> None:
    given = Shipper().share(np.arange(10**6))
    with pytest.raises(ShippingError, match=r"<Shared ndarray of 7.63 MiB> belongs to another client"):
        Shipper().pack_call(uses, (given,), {})
    with pytest.raises(ShippingError, match=r"client.rtask\(work, shared\); send  shared.get\(\)"):
        pickle.dumps(given)


def test_a_shared_object_holds_no_other() -> None:
    shipper = Shipper()
    with pytest.raises(ShippingError, match="a shared list cannot hold another shared object"):
        shipper.share([shipper.share("x")])


def test_it_is_not_blamed_for_what_is_beside_it() -> None:
    shipper = Shipper()
    given = shipper.share("x")
    with pytest.raises(ShippingError, match=r"<list>\[1\] cannot be sent: lock object"):
        shipper.pack_call(uses, ([given, threading.Lock()],), {})


# at a server


def test_it_arrives_as_the_object_itself(store: Store, tmp_path: Path) -> None:
    shipper = Shipper()
    array = np.arange(10**6)
    given = shipper.share(array)
    put(tmp_path, given)
    form, buffers, _ = shipper.pack_call(uses, (given,), {"again": [given]})
    _, (got,), kwargs = loads(form, join(buffers))
    assert kwargs == {"again": [got]}
    assert type(got) is np.ndarray
    assert (got == array).all()
    assert loads(form, join(buffers))[1][0] is got, "it is kept"


def test_a_global_is_the_object_itself_there(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipper = Shipper()
    given = shipper.share(["some", "data"])
    put(tmp_path, given)
    monkeypatch.setattr(sys.modules[__name__], "DATA", given)
    definitions = shipper.pack_call(uses_global, (), {})[2]
    for table in (namespace.HOME._installed, namespace.HOME._given):
        table.clear()
    elsewhere = types.ModuleType(__name__)
    monkeypatch.setitem(sys.modules, __name__, elsewhere)
    namespace.HOME.install(definitions)
    assert elsewhere.uses_global() == ["some", "data"]  # type: ignore[attr-defined]


def test_a_definition_whose_blob_is_a_file(store: Store, tmp_path: Path) -> None:
    blob = pickle.dumps([1, 2])
    file = InFile("global DATA", make_file("global DATA", Blob(blob, ())))
    put(tmp_path, file)
    whole = Definition("module", "DATA", DATA_KIND, b"digest", blob)
    other = Definition("module", "other", DATA_KIND, b"digest", b"blob")
    sent = msgspec.structs.replace(whole, blob=b"", file=file.digest)
    assert shared.with_blobs([sent, other]) == [whole, other]
    (tmp_path / file.digest).unlink()
    (missing,) = shared.with_blobs([sent])
    assert (missing.kind, missing.blob) == ("missing", b"the shared DATA is not at this node")


def test_it_is_not_there(store: Store) -> None:
    shipper = Shipper()
    form, buffers, _ = shipper.pack_call(uses, (shipper.share("x"),), {})
    with pytest.raises(ShippingError, match=r"the shared str of .* bytes is not at this node"):
        loads(form, join(buffers))


def test_elsewhere_it_cannot_be_opened() -> None:
    shipper = Shipper()
    form, buffers, _ = shipper.pack_call(uses, (shipper.share("x"),), {})
    with pytest.raises(ShippingError, match=r"a shared str of .* can be opened at the servers of its client only"):
        loads(form, join(buffers))


def test_what_is_kept_has_a_bound(tmp_path: Path) -> None:
    opened: list[str] = []

    def read(descriptor: int) -> tuple[Any, int]:
        name = os.read(descriptor, 10).decode()
        opened.append(name)
        return [name], 4

    store = Store(tmp_path, read, bytes_max=10)
    for name in "abc":
        (tmp_path / name).write_text(name)
    for name in ("a", "b", "a", "a", "c"):
        assert store.open(name, "") == [name]
    assert opened == ["a", "b", "c"]
    store.open("a", "")
    assert opened == ["a", "b", "c"], "it was used after b"
    store.open("b", "")
    assert opened == ["a", "b", "c", "b"]
    store.drop(["b", "not there"])
    (tmp_path / "b").unlink()
    with pytest.raises(ShippingError):
        store.open("b", "")
