"""An object that a client shares with its tasks: what stands for it at the client, and what opens it at a server.

It travels as a file (blobs.py), once to each node; a call carries its digest.  At a server the digest is unpickled into
the object itself, from the file that lies in the client's folder there.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import weakref
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from parkcos.cluster import blobs
from parkcos.errors import ShippingError
from parkcos.kernel import spaces

if TYPE_CHECKING:
    from parkcos.cluster.definitions import Definition
    from parkcos.cluster.shipping import Shipper

FOLDER = ".parkcos-shared"
"""In the client's folder at a node; and the folder for which a client sends such files."""
KEPT_BYTES_MAX = 256 * 1024 * 1024
"""Pickles of objects that a server keeps for the tasks to come.  What is mapped, as arrays are, does not count."""

_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


class InFile:
    """What travels as a file, which has no name here, and is gone with the last reference to this.

    Args:
        kind: what it is, for messages.
        written: the file, its digest and its size, as `make_file` gives them.
    """

    __slots__ = ("__weakref__", "_file", "digest", "kind", "size")

    def __init__(self, kind: str, written: tuple[IO[bytes], str, int]) -> None:
        self.kind = kind
        self._file, self.digest, self.size = written
        weakref.finalize(self, self._file.close)

    def __str__(self) -> str:
        return f"{self.kind} of {size_in_words(self.size)}"

    def fileno(self) -> int:
        """The descriptor of its file."""
        return self._file.fileno()


class Shared(InFile):
    """An object that travels to each node once, and is the argument of any number of tasks: see `Client.share`.

    Give it to a task, alone or in whatever else the task is given, or name it in the task's code: the task has the
    object itself there.  It is what the object was when `share` was called; what the program changes in it later, the
    tasks do not see.  Arrays are read-only.
    """

    __slots__ = ("_object", "_opened", "needs", "shipper")

    def __init__(
        self, shipper: Shipper, kind: str, written: tuple[IO[bytes], str, int], needs: tuple[Any, ...]
    ) -> None:
        super().__init__(kind, written)
        self.shipper = shipper
        self.needs = needs
        """The globals of the client's program that it needs, by their keys."""
        self._opened = False
        self._object: Any = None

    def __repr__(self) -> str:
        return f"<Shared {self}>"

    def get(self) -> Any:
        """The object, as tasks have it: what it was when it was shared; the same one at each call."""
        if not self._opened:
            self._object, _ = blobs.read(self._file.fileno())
            self._opened = True
        return self._object

    def __copy__(self) -> Shared:
        return self

    def __deepcopy__(self, memo: Any) -> Shared:
        return self

    def __reduce__(self) -> Any:
        raise ShippingError(
            f"{self!r} travels with the calls of its client only, as in  client.rtask(work, shared); "
            "send  shared.get()  , the object, where else it is needed"
        )


def size_in_words(size: int) -> str:
    """So many bytes, for messages."""
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} bytes"


def make_file(kind: str, blob: blobs.Blob) -> tuple[IO[bytes], str, int]:
    """A file without a name that holds an object, its digest and its size.  Raises: ShippingError."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile())
            if hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), 0o444)  # as it is at the nodes, where tasks may have a user of their own
            digest = blob.write(file)
        except OSError as error:
            raise ShippingError(
                f"a shared {kind} needs a file of {size_in_words(blob.size)} in {tempfile.gettempdir()}, and cannot "
                f"have it: {error.strerror}; the environment variable TMPDIR names another folder"
            ) from error
        stack.pop_all()
        return file, digest, blob.size


class Store:
    """What a server has opened of the shared objects at its node.  Kernel thread only.

    Args:
        folder: where their files lie, each under its digest.
        read: opens one, as `blobs.read`.
        bytes_max: of the pickles of what is kept.
    """

    def __init__(
        self,
        folder: Path,
        read: Callable[[int], tuple[Any, int]] = blobs.read,
        bytes_max: int = KEPT_BYTES_MAX,
    ) -> None:
        self._folder = folder
        self._read = read
        self._bytes_max = bytes_max
        self._kept: dict[tuple[str, int], tuple[Any, int]] = {}
        """Object, and bytes of its pickle, by digest and the space of its classes; what was used last comes last."""

    def open(self, digest: str, what: str) -> Any:
        """The object.  Raises: ShippingError if its file is not there; OSError; what the object's own code raises."""
        space = spaces.inside()
        key = digest, 0 if space is None else space.number
        known = self._kept.pop(key, None)
        if known is None:
            known = self._opened(digest, what)
        self._kept[key] = known
        return known[0]

    def _opened(self, digest: str, what: str) -> tuple[Any, int]:
        with self._file(digest, what) as descriptor:
            made = self._read(descriptor)
        size = made[1] + sum(each for _, each in self._kept.values())
        for oldest, (_, each) in list(self._kept.items()):
            if size <= self._bytes_max:
                break
            del self._kept[oldest]
            size -= each
        return made

    @contextlib.contextmanager
    def _file(self, digest: str, what: str) -> Iterator[int]:
        try:
            descriptor = os.open(self._folder / digest, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError:
            raise ShippingError(f"the shared {what} is not at this node") from None
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def with_blob(self, definition: Definition) -> Definition:
        """A definition whose blob has come as a file."""
        try:
            with self._file(definition.file, definition.name) as descriptor:
                blob = bytes(blobs.parts(descriptor)[0])
        except (OSError, ShippingError) as error:
            return msgspec.structs.replace(definition, kind="missing", blob=str(error).encode())
        return msgspec.structs.replace(definition, blob=blob, file="")

    def drop(self, digests: Container[str] = (), numbers: Container[int] = ()) -> None:
        """Keep these no longer: their files are gone, or the spaces with these numbers."""
        for key in [key for key in self._kept if key[0] in digests or key[1] in numbers]:
            del self._kept[key]


store: Store | None = None
"""That of this process, if it is a server."""


def open_at(folder: Path) -> None:
    """In the process from which servers are forked: shared objects lie here."""
    global store
    store = Store(folder)


def restore(digest: str, what: str) -> Any:
    """Unpickles what stands for a shared object into the object."""
    if store is None:
        raise ShippingError(f"a shared {what} can be opened at the servers of its client only")
    return store.open(digest, what)


def drop(digests: Container[str] = (), numbers: Container[int] = ()) -> None:
    """The files of these are gone, or the spaces with these numbers."""
    if store is not None:
        store.drop(digests, numbers)


def with_blobs(definitions: Iterable[Definition]) -> list[Definition]:
    """Definitions as they can be installed, also those whose blobs have come as files."""
    return [store.with_blob(each) if each.file and store is not None else each for each in definitions]
