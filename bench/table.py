"""The rows of the design's table "Speed is designed in": who is measured, by which program, against which target."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """parkcos's figure is to be `factor` times the one of `peer`, or better; without a peer, `factor` itself."""

    factor: float
    peer: str = ""


@dataclass(frozen=True)
class Row:
    """`programs`: who is measured (parkcos first) -> words after `python -m bench.rows.`; figures are in `unit`."""

    name: str
    title: str
    unit: str
    programs: Mapping[str, str]
    targets: tuple[Target, ...] = ()
    less_is_better: bool = False
    time_limit_s: float = 60.0


def same(program: str, *peers: str) -> dict[str, str]:
    """The same program for all; "NAME=WORD" when the table's name for a peer is not the program's word for it."""
    pairs = [(peer.partition("=")[0], peer.partition("=")[2] or peer) for peer in peers]
    return {name: program.format(peer=word) for name, word in pairs}


SPAWNERS = "parkcos", "pycos", "uvloop"
SPAWN_LIMIT_S = 120.0
POOL = "ProcessPoolExecutor=pool"
ARGUMENT = "Pool, the array as argument"
OTHERS = "Ray=ray", "Dask=dask", "ipyparallel", POOL

ROWS = (
    Row(
        "switch-100",
        "context switch, 100 tasks",
        "/s",
        same("switch {peer} 100", "parkcos", "pycos", "uvloop", "generators"),
        (Target(1.2, "pycos"), Target(2, "uvloop")),
    ),
    Row(
        "switch-2",
        "context switch, 2 tasks",
        "/s",
        same("switch {peer} 2", "parkcos", "pycos", "uvloop", "generators"),
        (Target(4, "pycos"), Target(2, "uvloop")),
    ),
    Row(
        "pingpong",
        "local ping-pong between two tasks",
        "/s",
        same("pingpong {peer}", "parkcos", "pycos", "uvloop"),
        (Target(3, "pycos"), Target(3, "uvloop")),
    ),
    Row(
        "spawn-1000",
        "spawn and join 1,000 tasks",
        "tasks/s",
        same("spawn {peer} 1000", *SPAWNERS),
        (Target(2, "pycos"), Target(1.5, "uvloop")),
    ),
    Row(
        "spawn-20000",
        "spawn and join 20,000 tasks",
        "tasks/s",
        same("spawn {peer} 20000", *SPAWNERS),
        (Target(30, "pycos"), Target(1.5, "uvloop")),
    ),
    Row(
        "spawn-1000000",
        "spawn and join 1,000,000 tasks",
        "tasks/s",
        {
            **same("spawn {peer} 1000000", "parkcos", "uvloop"),
            "itself at 20,000": "spawn parkcos 20000",
        },
        (Target(1, "itself at 20,000"), Target(1.5, "uvloop")),
        time_limit_s=SPAWN_LIMIT_S,
    ),
    Row(
        "roundtrip",
        "remote round trip, TLS on (peers in plain)",
        "us",
        same("remote roundtrip {peer}", "parkcos", "pycos", "bare TCP echo=socket"),
        (Target(0.5, "pycos"), Target(2, "bare TCP echo")),
        less_is_better=True,
    ),
    Row(
        "oneway",
        "remote one-way messages, TLS on (peers in plain)",
        "/s",
        same("remote oneway {peer} 0", "parkcos", "pycos"),
        (Target(25, "pycos"),),
    ),
    Row(
        "1mib-plain",
        "1 MiB messages, no_secret",
        "MB/s",
        same("remote oneway {peer} 1048576", "parkcos=parkcos-plain", "pycos", "bare socket=socket"),
        (Target(1, "pycos"),),
    ),
    Row(
        "1mib-tls",
        "1 MiB messages, TLS on (peers in plain)",
        "MB/s",
        same("remote oneway {peer} 1048576", "parkcos", "pycos", "bare socket=socket"),
        (Target(0.5, "pycos"),),
    ),
    Row(
        "file",
        "a file of 1 GiB (BENCH_FILE_GIB), TLS on, fsync",
        "MB/s",
        {"parkcos": "file send parkcos", "bare TLS socket": "file send tls", "bare socket": "file send socket"},
        time_limit_s=300.0,
    ),
    Row(
        "rtask",
        "`rtask` and its result, one after the other",
        "tasks/s",
        same("rtask one {peer}", "parkcos", "dispycos", *OTHERS),
        (Target(4, "dispycos"),),
    ),
    Row(
        "many",
        "many tasks, two servers",
        "tasks/s",
        same("rtask many {peer}", "parkcos", "dispycos", *OTHERS),
        (Target(10, "dispycos"), Target(1, "ProcessPoolExecutor")),
    ),
    Row(
        "many-io",
        "many tasks, two servers, `io_rtask`",
        "tasks/s",
        same("rtask many {peer}", "parkcos=parkcos-io", "dispycos=dispycos-io", POOL),
        (Target(10, "dispycos"), Target(1, "ProcessPoolExecutor")),
    ),
    Row(
        "share",
        "1,000 tasks with a shared array of 64 MB, two servers",
        "tasks/s",
        same(
            "share tasks {peer}",
            "parkcos",
            "Pool, the array as argument=pool",
            "Pool, in chunks=pool-chunks",
            "Ray=ray",
        ),
        (Target(10, ARGUMENT),),
        time_limit_s=120.0,
    ),
    Row(
        "startup",
        "node with 64 servers up and serving a client",
        "s",
        {"parkcos": "node startup 64"},
        (Target(1),),
        less_is_better=True,
    ),
    Row(
        "program",
        "a program with a `LocalCluster` of two and one task, from start to end",
        "s",
        {"parkcos": "node program"},
        (Target(0.4),),
        less_is_better=True,
    ),
    Row(
        "memory",
        "an idle server's own memory (USS)",
        "MiB",
        {"parkcos": "node memory"},
        (Target(10),),
        less_is_better=True,
    ),
)
