"""parkcos/cluster/blobs.py: an object in a file, and what of it is mapped and not copied."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from parkcos.cluster import blobs
from parkcos.errors import ShippingError


def written(path: Path, obj: Any) -> tuple[str, int]:
    buffers: list[memoryview] = []
    data = pickle.dumps(obj, 5, buffer_callback=lambda buffer: buffers.append(buffer.raw()))
    blob = blobs.Blob(data, buffers)
    with path.open("wb") as file:
        return blob.write(file), blob.size


def read(path: Path) -> tuple[Any, int]:
    with path.open("rb") as file:
        return blobs.read(file.fileno())


@pytest.mark.parametrize("obj", [None, "text", {"a": [1, 2]}, np.arange(3), [np.arange(10**6), np.ones(7), "x"]])
def test_what_is_written_is_read(tmp_path: Path, obj: Any) -> None:
    _, size = written(tmp_path / "file", obj)
    assert size == (tmp_path / "file").stat().st_size
    got, pickle_bytes = read(tmp_path / "file")
    assert type(got) is type(obj)
    assert pickle.dumps(got) == pickle.dumps(obj)
    assert pickle_bytes < 1000, "arrays do not count"


def test_arrays_are_the_pages_of_the_file(tmp_path: Path) -> None:
    written(tmp_path / "file", [np.ones(5, np.uint8), np.arange(10**6)])
    small, large = read(tmp_path / "file")[0]
    assert not small.flags.writeable
    assert not large.flags.writeable
    assert small.ctypes.data % blobs.ALIGNED_BYTES == large.ctypes.data % blobs.ALIGNED_BYTES == 0
    maps = Path("/proc/self/maps").read_text().splitlines()
    mapped = [line.split("-", 1)[0] for line in maps if line.endswith(str(tmp_path / "file"))]
    assert len(mapped) == 1
    assert int(mapped[0], 16) <= large.ctypes.data
    (tmp_path / "file").unlink()
    assert large.sum() == 10**6 * (10**6 - 1) // 2, "it is there as long as it is used"


def test_equal_objects_have_one_digest(tmp_path: Path) -> None:
    one, again, other = (written(tmp_path / "file", np.arange(100) + n)[0] for n in (0, 0, 1))
    assert one == again != other


@given(some.data())
def test_what_is_no_such_file_is_refused(tmp_path_factory: pytest.TempPathFactory, data: some.DataObject) -> None:
    path = tmp_path_factory.mktemp("blobs") / "file"
    written(path, np.arange(10))
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(some.integers(0, len(whole) - 1), "bytes that are left")])
    with pytest.raises(ShippingError, match="holds no shared object"):
        read(path)
