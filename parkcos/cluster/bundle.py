"""What a client brings to a node when it sets it up: the files of its components, its definitions, `node_setup`."""

from __future__ import annotations

import msgspec

from parkcos.cluster.definitions import Definition


class File(msgspec.Struct, array_like=True, frozen=True, tag=True):
    """A file of the components.  path: relative to the client's directory on the node, with `/`."""

    path: str
    mode: int
    data: bytes


class Folder(msgspec.Struct, array_like=True, frozen=True, tag=True):
    """A folder of the components, which may be empty."""

    path: str


class Link(msgspec.Struct, array_like=True, frozen=True, tag=True):
    """A symbolic link.  to: where it leads, relative to the folder that it lies in."""

    path: str
    to: str


class Bundle(msgspec.Struct, array_like=True, frozen=True):
    """What a client brings to a node: opaque to the node, opened in the zygote."""

    files: list[File | Folder | Link]
    definitions: list[Definition]
    node_setup: bytes | None = None
    """The pickled (function, args, kwargs)."""
    requirements: list[str] = []
    """What a node must have to be used."""
    threads: int | None = None
    """How many a call of numpy and the like uses, as `Client(threads=)`."""
    seeded: bool = False
    """The client's tasks have seeds."""
    preload: list[str] = []
    """Modules that are imported before a server is forked, as `Client.space(preload=)`."""
    env: dict[str, str] = {}
    """Environment variables, set before anything of the client's is imported."""


encode_bundle = msgspec.msgpack.Encoder().encode
decode_bundle = msgspec.msgpack.Decoder(Bundle).decode
