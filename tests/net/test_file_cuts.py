"""parkcos/net/files/service.py while other things happen: messages, stuck disks, time-outs, cuts, killed programs."""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from parkcos.net import wire
from parkcos.net.files import disk, service
from parkcos.net.files import messages as m
from parkcos.net.files import sending as sendings
from parkcos.net.files.disk import Source, Stop, Target
from parkcos.net.files.rules import Refused
from parkcos.net.location import Location
from parkcos.net.trust.secret import ClusterKeys
from tests.net.cluster_of_networks import WAIT_S, Cluster, Log, Place
from tests.net.sending import (
    MIB,
    Counter,
    Hostile,
    StuckDisk,
    all_files,
    deleted,
    made_file,
    result,
    send,
    sparse_file,
    wait_until,
    wait_until_idle,
)
from tests.secret import SECRET

pytestmark = pytest.mark.live


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "dest"


@pytest.fixture
def two(cluster: Cluster, dest: Path) -> tuple[Place, Place]:
    return cluster.place("a"), cluster.place("b", dest_path=dest)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of 3 MiB and a bit."""
    return made_file(tmp_path / "data.bin", 3 * MIB + 17)


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[StuckDisk]:
    disk = StuckDisk(monkeypatch)
    yield disk
    disk.go_on.set()


# what happens meanwhile


def ping_pong(a: Place, b: Place) -> tuple[Callable[[], int], Any]:
    """Messages back and forth until stopped: how many there were, and the task."""
    stop = threading.Event()
    count = 0

    def echo(task: Any = None) -> Any:
        task.set_daemon()
        while True:
            sender, n = yield task.receive()
            sender.send(n)

    def ask(task: Any = None) -> Any:
        nonlocal count
        while not stop.is_set():
            there.send((task, count))
            assert (yield task.receive()) == count
            count += 1

    there = a.reference(b.spawn(echo))
    asking = a.spawn(ask)

    def end() -> int:
        stop.set()
        asking.future().result(WAIT_S)
        return count

    return end, lambda: count


def test_messages_go_between_the_chunks(two: tuple[Place, Place], tmp_path: Path) -> None:
    """Messages that are sent after a file's first bytes are answered before its last ones."""
    a, b = two
    file = sparse_file(tmp_path / "large", 200 * MIB)
    a.connect(b)
    end, count = ping_pong(a, b)
    counter = Counter(a)
    sending = send(a, b, file)
    counter.news.wait(len)
    first = count()
    assert result(sending) == 0
    assert count() - first > 20
    assert end() > 0


def test_a_stuck_disk_delays_nothing_else(two: tuple[Place, Place], tmp_path: Path, stuck: StuckDisk) -> None:
    a, b = two
    file = sparse_file(tmp_path / "large", 20 * MIB)
    counter = Counter(a)
    sending = send(a, b, file)
    stuck.wait()
    end, count = ping_pong(a, b)
    a.run(_wait_for, a, lambda: count() > 100)
    end()
    assert not sending.future().done()
    assert counter.bytes <= m.WINDOW_BYTES_MAX
    stuck.go_on.set()
    assert result(sending) == 0


def _wait_for(place: Place, until: Callable[[], bool]) -> Any:
    while not until():
        yield place.network.pause(0.001)


def test_a_receiver_that_is_behind_with_its_messages(two: tuple[Place, Place], tmp_path: Path) -> None:
    """It acknowledges nothing to the session then; the sender does not fill its memory with the file."""
    a, b = two
    file = sparse_file(tmp_path / "large", 60 * MIB)

    def collect(task: Any = None) -> Any:
        return len((yield task.receive()))

    there = b.spawn(collect)
    remote = a.reference(there)
    counter = Counter(a)
    go_on = threading.Event()
    b.kernel.post(go_on.wait, WAIT_S)
    try:
        a.call(remote.send, b"x" * (4 * MIB))
        sending = send(a, b, file)
        peer = a.peer_of(b)
        assert peer is not None
        wait_until(lambda: peer.behind)
        wait_until(lambda: not a.network.files.workers._unfinished)
    finally:
        go_on.set()
    assert result(there) == 4 * MIB
    assert result(sending) == 0
    assert counter.network_bytes_max < 16 * MIB


def test_a_process_that_is_known_under_another_address(two: tuple[Place, Place], source: Path, dest: Path) -> None:
    a, b = two
    a.connect(b)
    assert result(send(a, Location("0.0.0.0", b.location.port), source)) == 0
    assert (dest / source.name).read_bytes() == source.read_bytes()
    assert deleted(a, Location("0.0.0.0", b.location.port), source) == 0


def test_timeout_is_said_at_both_sides_and_the_part_is_kept(
    two: tuple[Place, Place], tmp_path: Path, dest: Path, stuck: StuckDisk, log: Log
) -> None:
    a, b = two
    file = made_file(tmp_path / "f", 20 * MIB)
    assert result(send(a, b, file, timeout=0.3)) == -1
    log.wait_for("f' was not sent to b", "longer than 0.3 s")
    log.wait_for("'f'", "was not received", "longer than 0.3 s")
    counter = Counter(a)
    again = send(a, b, file)
    wait_until(lambda: len(b.network.files.incoming) == 2)
    stuck.go_on.set()
    assert result(again) == 0, "it waits for the end of the former"
    assert counter.bytes < file.stat().st_size
    assert (dest / "f").read_bytes() == file.read_bytes()
    assert all_files(dest) == ["f"]
    wait_until_idle(a, b)


def test_what_does_not_move_on_is_said(
    two: tuple[Place, Place], tmp_path: Path, stuck: StuckDisk, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LOOK_AGAIN_S", 0.05)
    a, b = two
    sending = send(a, b, sparse_file(tmp_path / "f", MIB))
    log.wait_for("f' for b at", "does not move on: the receiver has not written more, 0 bytes are there")
    stuck.go_on.set()
    assert result(sending) == 0


def test_a_sender_that_forgets_its_file(
    two: tuple[Place, Place], dest: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LOOK_AGAIN_S", 0.05)
    monkeypatch.setattr(service, "IDLE_S", 0.1)
    hostile = Hostile(*two)
    hostile.say(m.Offer(1, "", "f", 10, 1, 0o644, False))
    assert "nothing came for" in hostile.answer(1, m.Failed).reason
    wait_until_idle(two[1])
    assert all_files(dest) == []


def test_terminated_task_ends_the_transfer(
    two: tuple[Place, Place], tmp_path: Path, stuck: StuckDisk, log: Log
) -> None:
    a, b = two
    sending = send(a, b, sparse_file(tmp_path / "f", 20 * MIB))
    stuck.wait()
    sending.terminate()
    log.wait_for("was not sent", "the task that waited for send_file was ended")
    log.wait_for("was not received", "the task that waited for send_file was ended")
    stuck.go_on.set()
    wait_until_idle(a, b)


def test_two_files_for_one_name_at_once(
    two: tuple[Place, Place], cluster: Cluster, tmp_path: Path, dest: Path, stuck: StuckDisk, log: Log
) -> None:
    a, b = two
    c = cluster.place("c")
    file = made_file(tmp_path / "f", 2 * MIB)
    (tmp_path / "other").mkdir()
    other = made_file(tmp_path / "other" / "f", MIB, seed=2)
    first = send(a, b, file)
    stuck.wait()
    assert result(send(c, b, file)) == -1
    log.wait_for("was not sent", "the same file is just being received there")
    assert result(send(c, b, other, overwrite=True)) == -1
    log.wait_for("was not sent", "another file is just being received under that name there")
    stuck.go_on.set()
    assert result(first) == 0
    assert (dest / "f").read_bytes() == file.read_bytes()


def test_two_processes_with_one_folder(
    two: tuple[Place, Place], cluster: Cluster, tmp_path: Path, dest: Path, stuck: StuckDisk, log: Log
) -> None:
    a, b = two
    other = cluster.place("other", dest_path=dest)
    file = made_file(tmp_path / "f", 2 * MIB)
    first = send(a, b, file)
    stuck.wait()
    assert result(send(a, other, file)) == -1
    log.wait_for("was not sent to other", "the same file is just being received there")
    stuck.go_on.set()
    assert result(first) == 0
    assert result(send(a, other, file)) == 0
    assert (dest / "f").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("how", ["append", "touch", "truncate"])
def test_a_file_that_changes_while_it_is_sent(
    two: tuple[Place, Place], tmp_path: Path, dest: Path, stuck: StuckDisk, log: Log, how: str
) -> None:
    a, b = two
    file = made_file(tmp_path / "f", 20 * MIB)
    dest.mkdir()
    (dest / "f").write_text("old")
    sending = send(a, b, file, overwrite=True)
    stuck.wait()
    if how == "append":
        with file.open("ab") as opened:
            opened.write(b"more")
    elif how == "touch":
        os.utime(file, (1, 1))
    else:
        os.truncate(file, 10 * MIB)
    stuck.go_on.set()
    assert result(sending) == -1
    log.wait_for("was not sent to b", "it changed while it was sent")
    log.wait_for("was not received", "it changed while it was sent")
    wait_until_idle(b)
    assert all_files(dest) == ["f"]
    assert (dest / "f").read_text() == "old"


def test_a_target_that_appears_meanwhile(
    two: tuple[Place, Place], source: Path, dest: Path, stuck: StuckDisk, log: Log
) -> None:
    a, b = two
    sending = send(a, b, source)
    stuck.wait()
    (dest / source.name).write_text("mine")
    stuck.go_on.set()
    assert result(sending) == -1
    log.wait_for("was not sent", "has got that name there meanwhile")
    assert (dest / source.name).read_text() == "mine"


def test_disk_errors_are_said_at_the_sender(
    two: tuple[Place, Place], source: Path, dest: Path, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """The disk is really full: a file system of 2 MiB would need root, so a limit of this process stands for it."""
    import resource

    a, b = two
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, hard))
    try:
        assert result(send(a, b, source)) == -1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    log.wait_for("was not sent to b", "File too large")
    wait_until_idle(b)
    assert all_files(dest) == []


def test_too_little_space_is_noticed_before_anything_is_sent(
    two: tuple[Place, Place], tmp_path: Path, dest: Path, log: Log
) -> None:
    a, b = two
    file = tmp_path / "huge"
    with file.open("wb") as opened:
        opened.truncate(1 << 43)
    counter = Counter(a)
    assert result(send(a, b, file)) == -1
    log.wait_for("was not sent to b", "the disk is too full")
    assert counter.bytes == 0
    wait_until_idle(b)
    assert all_files(dest) == []


def test_peer_goes_away_and_comes_back(
    two: tuple[Place, Place], cluster: Cluster, tmp_path: Path, dest: Path, log: Log
) -> None:
    a, b = two
    file = made_file(tmp_path / "f", 40 * MIB)
    counter = Counter(b)
    sending = send(a, b, file)
    counter.news.wait(lambda items: any(isinstance(item, m.Written) for item in items))
    b.close()
    assert result(sending) == -1
    log.wait_for("was not sent", "the receiver ends")
    b = cluster.place("b", dest_path=dest)
    there = sum(path.stat().st_size for path in dest.iterdir())
    assert there
    sent = Counter(a)
    assert result(send(a, b, file)) == 0
    assert sent.bytes == file.stat().st_size - there
    assert (dest / "f").read_bytes() == file.read_bytes()
    assert all_files(dest) == ["f"]


def test_last_words_of_a_receiver_count(
    two: tuple[Place, Place], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that the file is there, and ends: both may be read at once."""
    a, b = two
    go_on = threading.Event()
    monkeypatch.setattr(Target, "complete", lambda *_: go_on.wait(WAIT_S))
    sending = send(a, b, source)

    def has_sent_all() -> bool:
        return any(isinstance(o, sendings.Outgoing) and o.machine and o.machine.state == "ended"
                   for o in list(a.network.files.outgoing.values()))  # fmt: skip

    wait_until(has_sent_all)
    [number] = a.network.files.outgoing
    peer = a.peer_of(b)
    assert peer is not None

    async def done_and_gone() -> None:
        done = wire.Service(wire.EMPTY, 0, False, m.SERVICE, m.encode(m.Done(number)))
        a.network.services[m.SERVICE](peer, done)
        a.network.hub.end(peer, "it has ended")

    a.io.run(done_and_gone()).result(WAIT_S)
    assert result(sending) == 0
    go_on.set()


def test_network_closes_while_a_file_is_sent(
    two: tuple[Place, Place], tmp_path: Path, stuck: StuckDisk, log: Log
) -> None:
    a, b = two
    sending = send(a, b, made_file(tmp_path / "f", 20 * MIB))
    stuck.wait()
    a.network.close()
    assert result(sending) == -1
    log.wait_for("was not sent", "this process ends")
    log.wait_for("was not received", "this process ends")
    stuck.go_on.set()
    wait_until_idle(b)


def test_cut_connection_is_not_noticed(two: tuple[Place, Place], tmp_path: Path, dest: Path) -> None:
    a, b = two
    file = made_file(tmp_path / "f", 40 * MIB)
    counter = Counter(b)
    sending = send(a, b, file)
    for cuts in (1, 2, 3):
        counter.news.wait(lambda items, n=cuts: sum(isinstance(i, m.Written) for i in items) > 2 * n)  # type: ignore[misc]
        peer = a.peer_of(b)
        assert peer is not None
        a.io.run(_cut(a, peer)).result(WAIT_S)
    assert result(sending) == 0
    assert (dest / "f").read_bytes() == file.read_bytes()


async def _cut(place: Place, peer: Any) -> None:
    place.network.hub._lost(peer, peer.link, "cut by a test")


def test_hashing_can_be_given_up(tmp_path: Path) -> None:
    stop = Stop()
    fd = os.open(made_file(tmp_path / "f", MIB), os.O_RDONLY)
    try:
        assert disk.hash_file(fd, MIB, stop).digest() == hashlib.sha256((tmp_path / "f").read_bytes()).digest()
        stop.stopped = True
        with pytest.raises(Refused, match="given up"):
            disk.hash_file(fd, MIB, stop)
    finally:
        os.close(fd)


def test_source_begins_anew_when_the_part_was_of_no_use(tmp_path: Path) -> None:
    source = Source(made_file(tmp_path / "f", 1000))
    try:
        source.hash(500)
        assert source.read(0, 1000) == (tmp_path / "f").read_bytes()
        assert source.finish(1000) == hashlib.sha256((tmp_path / "f").read_bytes()).digest()
    finally:
        source.close()


# two processes

RECEIVER = """
import sys
from parkcos import Parkcos, Task
runtime = Parkcos(host="127.0.0.1", discover_peers=False, secret=SECRET, dest_path=sys.argv[1])

def main(task=None):
    assert str(runtime.dest_path) == sys.argv[1]
    print(runtime.location.port, flush=True)
    yield task.receive()

Task(main)
""".replace("SECRET", repr(SECRET))

SENDER = """
import logging, sys
from parkcos import Location, Parkcos, Task
logging.basicConfig(format="%(message)s")
runtime = Parkcos(host="127.0.0.1", discover_peers=False, secret=SECRET)

def main(task=None):
    location = Location("127.0.0.1", int(sys.argv[1]))
    print("sent", (yield runtime.send_file(location, sys.argv[2], dir="in", overwrite=True, timeout=50)), flush=True)
    if len(sys.argv) > 3:
        print("deleted", (yield runtime.del_file(location, sys.argv[2], dir="in")), flush=True)

Task(main)  # and the main thread ends
""".replace("SECRET", repr(SECRET))


class Programs:
    """Programs that are killed at the latest when the test ends."""

    def __init__(self) -> None:
        self.all: list[subprocess.Popen[str]] = []

    def start(self, source: str, *args: Any) -> subprocess.Popen[str]:
        program = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", source, *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.all.append(program)
        return program

    def receiver(self, dest: Path) -> tuple[subprocess.Popen[str], int]:
        program = self.start(RECEIVER, dest)
        assert program.stdout is not None
        return program, int(program.stdout.readline())

    def close(self) -> None:
        for program in self.all:
            program.kill()
            program.communicate(timeout=WAIT_S)


@pytest.fixture
def programs() -> Iterator[Programs]:
    made = Programs()
    yield made
    made.close()


def wait_for_part(dest: Path, size: int) -> None:
    """Until that much of some file is on the disk."""
    wait_until(lambda: any(path.stat().st_size >= size for path in dest.rglob(".parkcos-part-*")))


@pytest.mark.parametrize("victim", ["receiver", "sender"])
def test_killed_and_resumed(programs: Programs, tmp_path: Path, dest: Path, victim: str) -> None:
    file = sparse_file(tmp_path / "large", 300 * MIB)
    receiver, port = programs.receiver(dest)
    sender = programs.start(SENDER, port, file)
    wait_for_part(dest, 20 * MIB)
    (receiver if victim == "receiver" else sender).kill()
    if victim == "receiver":
        out, _ = sender.communicate(timeout=WAIT_S)
        assert "sent -1" in out and "was not sent to" in out
        receiver, port = programs.receiver(dest)
    [part] = dest.rglob(".parkcos-part-*")
    assert 20 * MIB <= part.stat().st_size < file.stat().st_size
    sender = programs.start(SENDER, port, file, "and delete")
    out, _ = sender.communicate(timeout=WAIT_S * 2)
    assert "sent 0" in out, out
    assert "deleted 0" in out, out
    assert all_files(dest) == []


def test_one_gibibyte_with_constant_memory(programs: Programs, cluster: Cluster, tmp_path: Path, dest: Path) -> None:
    """Neither what is on its way, nor the receiver's memory, grows with the file."""
    file = sparse_file(tmp_path / "large", 1024 * MIB)
    receiver, port = programs.receiver(dest)
    process = psutil.Process(receiver.pid)
    a = cluster.place("a", keys=ClusterKeys.derive(SECRET))
    counter = Counter(a)
    small = made_file(tmp_path / "small", 8 * MIB)
    assert result(send(a, Location("127.0.0.1", port), small)) == 0
    before = process.memory_info().rss
    sending = send(a, Location("127.0.0.1", port), file).future()
    most = before
    while concurrent.futures.wait([sending], 0.05).not_done:
        most = max(most, process.memory_info().rss)
    assert sending.result() == 0
    assert counter.bytes == file.stat().st_size + small.stat().st_size
    assert counter.in_flight_max <= m.WINDOW_BYTES_MAX
    assert counter.network_bytes_max <= 3 * m.WINDOW_BYTES_MAX
    assert most - before < 64 * MIB
    with (dest / "large").open("rb") as arrived:
        arrived.seek(512 * MIB)
        assert arrived.read(13) == b"in the middle"
    assert (dest / "large").stat().st_size == file.stat().st_size
