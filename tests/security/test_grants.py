"""Members who were given a grant, not the secret; and how they are shut out."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from parkcos.errors import ConfigError
from parkcos.net.options import NetworkOptions
from parkcos.net.revoking import SERVICE, Revoked, read_revoked
from parkcos.net.trust.granted import read_grant, write_grant
from parkcos.net.trust.issuing import authorities, make_grant
from parkcos.net.trust.revoked import ENTRIES_MAX, Revocation, Revocations, revoke
from parkcos.net.trust.secret import ClusterKeys
from parkcos.net.trust.standing import Standing
from tests.live.lib import Program
from tests.logs import run
from tests.net.cluster_of_networks import KEYS, OTHER_KEYS, Cluster, Log, Place
from tests.security.conftest import Site

NOW = 1_800_000_000.0


# the file of a grant


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "made for it" / "zoe.grant"
    made = write_grant(path, KEYS, "node", " Zoë ", 30)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_grant(path) == (made, KEYS.mac_key)
    assert made.standing.owner == "Zoë"
    assert KEYS.ca_seed not in path.read_bytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: path.unlink(), "is not there"),
        (lambda path: path.chmod(0o644), "open to other users"),
        (lambda path: path.write_text("hello"), "holds no grant"),
        (lambda path: path.write_text(path.read_text().replace("\n", "\nA", 2)), "damaged"),
        (lambda path: path.write_text(path.read_text()[:200] + path.read_text()[-30:]), "damaged"),
    ],
    ids=["gone", "open", "something else", "changed", "shortened"],
)
def test_files_that_are_none(tmp_path: Path, change: Callable[[Path], Any], words: str) -> None:
    path = tmp_path / "zoe.grant"
    write_grant(path, KEYS, "node", "Zoë", 30)
    change(path)
    with pytest.raises(ConfigError, match=words):
        read_grant(path)


@pytest.mark.parametrize(
    ("what", "owner", "days", "words"),
    [
        ("king", "Zoë", 1, "node, client, scheduler"),
        ("node", " ", 1, "no name"),
        ("node", "a\x1bb", 1, "no name"),
        ("node", "Zoë", 0, "0 days"),
        ("node", "Zoë", 1e9, "days"),
        ("node", "x" * 101, 1, "too long"),
    ],
)
def test_grants_that_are_not_made(tmp_path: Path, what: str, owner: str, days: float, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        write_grant(tmp_path / "grant", KEYS, what, owner, days)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "grant"
    write_grant(path, KEYS, "node", "Zoë", 30)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="is there already"):
        write_grant(path, KEYS, "node", "Zoë", 30)
    assert path.read_bytes() == before


def test_a_grant_for_something_else(tmp_path: Path) -> None:
    write_grant(tmp_path / "grant", KEYS, "node", "Zoë", 30)
    with pytest.raises(ConfigError, match="is for a node, and this is a client"):
        NetworkOptions().take_grant(tmp_path / "grant")


# the list of who was shut out


def known() -> Revocations:
    return Revocations(lambda: authorities(KEYS))


def standing(owner: str = "Zoë", made: float = NOW) -> Standing:
    return make_grant(KEYS, "node", owner, now=made).standing


def test_who_is_barred() -> None:
    mine, later, other = standing(), standing(made=NOW + 100), standing("Anna")
    lists = known()
    assert not lists.bars(mine)
    (entry,), _ = lists.merge([revoke(KEYS, "Zoë", NOW + 10)])
    assert [lists.bars(each) for each in (mine, later, other, None)] == [True, False, False, False]
    assert lists.merge([entry]) == ([], []), "it is no news"
    lists.merge([revoke(KEYS, "Zoë", NOW + 200)])
    assert lists.bars(later)
    lists.merge([revoke(KEYS, other.grant, NOW)])
    assert lists.bars(other)
    assert not lists.bars(standing("Anna"))
    assert not lists.bars(Standing(frozenset(["node"]), 5, owner="Zoë")), "who has the secret"


@pytest.mark.parametrize(
    "forge",
    [
        lambda entry: revoke(OTHER_KEYS, "Zoë", NOW),
        lambda entry: msgspec.structs.replace(entry, name="Anna"),
        lambda entry: msgspec.structs.replace(entry, at=entry.at + 1),
        lambda entry: msgspec.structs.replace(entry, signature=bytes(64)),
    ],
    ids=["another secret", "another name", "another time", "no signature"],
)
def test_what_is_not_signed_counts_for_nothing(forge: Callable[[Revocation], Revocation]) -> None:
    lists = known()
    taken, (why,) = lists.merge([forge(revoke(KEYS, "Zoë", NOW))])
    assert taken == []
    assert "without a signature of this cluster" in why
    assert not lists.bars(standing())
    assert not lists.bars(standing("Anna"))


def test_signed_with_the_secret_that_is_being_replaced() -> None:
    both = ClusterKeys(OTHER_KEYS.ca_seed, OTHER_KEYS.mac_key, KEYS)
    lists = Revocations(lambda: authorities(both))
    taken, left_out = lists.merge([revoke(KEYS, "Zoë", NOW), revoke(OTHER_KEYS, "Anna", NOW)])
    assert (len(taken), left_out) == (2, [])


def test_it_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "revoked"
    entry = revoke(KEYS, "Zoë", NOW)
    with Cluster() as cluster:
        place = cluster.place("here", revoked_file=path)
        place.io.run(taken(place, [entry])).result()
        again = cluster.place("again", revoked_file=path)
        assert again.network.revoking.entries == [entry]
        with Log() as log:
            other = cluster.place("of another cluster", keys=OTHER_KEYS, revoked_file=path)
        assert other.network.revoking.entries == []
        assert [line for line in log.lines if str(path) in line and "without a signature of this cluster" in line]
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
    path.write_text("nonsense")
    with pytest.raises(ConfigError, match="is no list of who was revoked"):
        read_revoked(path)


def test_it_cannot_be_kept(tmp_path: Path) -> None:
    with Cluster() as cluster:
        place = cluster.place("here", revoked_file=tmp_path / "not there" / "revoked")
        with Log() as log:
            place.io.run(taken(place, [revoke(KEYS, "Zoë", NOW)])).result()
        assert "cannot be kept" in log.lines[0]
        assert len(place.network.revoking.entries) == 1


async def taken(place: Place, entries: list[Revocation]) -> None:
    place.network.revoking.take(entries)


def test_it_is_bounded() -> None:
    lists = known()
    _, (why,) = lists.merge([revoke(KEYS, f"name {i}", NOW) for i in range(ENTRIES_MAX + 1)])
    assert len(lists.entries) == ENTRIES_MAX
    assert "cannot be shut out" in why


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 101])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ConfigError, match="is no name"):
        revoke(KEYS, name, NOW)


# processes


def test_it_spreads_and_shuts_out() -> None:
    """From one to those that it knows, and from those to who comes later."""
    with Cluster() as cluster:
        here, there = cluster.place("here"), cluster.place("there")
        grant = make_grant(KEYS, "node", "Zoë", days=1)
        guest = cluster.place("guest", keys=None, grant=grant, roles=("node",))
        for one, two in ((here, there), (guest, here), (guest, there)):
            assert one.run(lambda one=one, two=two: (yield one.network.peer(two.location, 10.0))) == 0
        with Log():
            here.io.call(here.network.revoking.take, [revoke(KEYS, "Zoë", time.time())])
            until(lambda: not here.is_connected_to(guest) and not there.is_connected_to(guest))
            late = cluster.place("late")
            assert late.run(lambda: (yield late.network.peer(there.location, 10.0))) == 0
            until(lambda: late.network.revoking.entries)
            assert guest.run(lambda: (yield guest.network.peer(late.location, 10.0))) == -1
        assert here.is_connected_to(there), "nobody else is"


def test_a_member_who_sends_what_is_no_list_fills_no_log() -> None:
    with Cluster() as cluster:
        here, liar = cluster.place("here"), cluster.place("liar")
        assert liar.run(lambda: (yield liar.network.peer(here.location, 10.0))) == 0
        (peer,) = liar.network.hub.peers()
        with Log() as log:
            for i in range(20):
                liar.network.post_service(peer, SERVICE, b"nonsense %d" % i)
                forged = [revoke(OTHER_KEYS, f"name {i}", NOW), revoke(OTHER_KEYS, f"other {i}", NOW)]
                liar.network.post_service(peer, SERVICE, msgspec.msgpack.encode(Revoked(forged)))
            liar.network.post_service(peer, SERVICE, msgspec.msgpack.encode(Revoked([revoke(KEYS, "Zoë", NOW)])))
            until(lambda: here.network.revoking.entries)
        assert [entry.name for entry in here.network.revoking.entries] == ["Zoë"]
        assert len([line for line in log.lines if "a list of who was revoked that is none" in line]) == 1
        assert len([line for line in log.lines if "a revocation without a signature" in line]) == 1


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


PROGRAM = """
def square(n, task=None):
    yield task.sleep(0)
    return n * n

def main(task=None):
    client = Client([square])
    yield client.schedule()
    print("squares", (yield client.map(square, range(4))), flush=True)
    yield client.close()

run(main)
"""


@pytest.mark.slow
def test_a_desktop_that_was_contributed(site: Site, stack: contextlib.ExitStack, tmp_path: Path) -> None:
    """It never has the secret, works, says whose it is, and is shut out."""
    commands = ["-m", "parkcos.commands.scheduler", "--secret_file", str(site.secret_file)]
    python = [sys.executable, "-u"]
    file = tmp_path / "zoe.grant"
    made = run([*python, *commands, "--make_grant", "Zoë", str(file)], 30)
    assert made.returncode == 0, made.stderr
    assert "--grant zoe.grant" in made.stdout

    site.options = ["-i", "127.0.0.1", "--grant", str(file), "--daemon"]
    node, port = site.node(1, "--owner", "Zoë")
    stack.enter_context(node)
    node.wait_for("uses address")
    begin = f"secret_file={str(site.secret_file)!r}"
    client = stack.enter_context(_client(site, tmp_path, begin))
    client.wait_for(r"squares \[0, 1, 4, 9\]")
    assert client.wait() == 0
    node.wait_for("serving")

    where = ["-i", "127.0.0.1", "-u", str(site.udp - 1), "--node", f"127.0.0.1:{port}"]
    told = run([*python, *commands, *where, "--revoke", "Zoë"], 60)
    assert told.returncode == 0, told.stderr
    assert "revoked all that 'Zoë' was given until now" in told.stdout
    assert (site.secret_file.parent / "revoked").is_file()
    node.wait_for("its grant is revoked")
    late = stack.enter_context(_client(site, tmp_path, begin))
    late.wait_for("its grant is revoked")
    assert not late.find("squares")
    late.end(9)

    site.options = ["-i", "127.0.0.1", "--grant", str(file), "--daemon"]
    liar, _ = site.node(1, "--owner", "Anna")
    stack.enter_context(liar)
    assert liar.wait() == 1
    liar.wait_for("a grant alone says whose machine this is, and the grant is Zoë's")


def _client(site: Site, folder: Path, options: str, program: str = PROGRAM) -> Program:
    path = folder / "client.py"
    path.write_text(
        "import logging, parkcos\nfrom parkcos import *\n"
        "logging.basicConfig(level=logging.INFO)\n"
        f"parkcos.Parkcos(host='127.0.0.1', udp_port={site.udp - 1}, {options})\n" + program
    )
    return Program(path, cwd=folder)


@pytest.mark.slow
def test_a_client_with_a_grant(site: Site, stack: contextlib.ExitStack, tmp_path: Path) -> None:
    """Its servers have keys of its own: it can do all that a client can."""
    file = tmp_path / "anna.grant"
    write_grant(file, ClusterKeys.derive(site.secret), "client", "Anna", 1)
    node, _ = site.node(1)
    stack.enter_context(node)
    client = stack.enter_context(_client(site, tmp_path, f"grant={str(file)!r}"))
    client.wait_for(r"squares \[0, 1, 4, 9\]")
    assert client.wait() == 0
    node.wait_for(r"a peer, by the grant [0-9a-f]{16} of Anna")


WORKS_ON = """
def works_on(here, task=None):
    here.send("begun")
    yield task.sleep(600)

def main(task=None):
    client = Client([works_on])
    yield client.schedule()
    running = yield client.rtask(works_on, task)
    print((yield task.receive()), flush=True)
    try:
        yield running.result()
    except (TaskAbandoned, TaskTerminated) as error:
        print("ended:", error, flush=True)
    yield task.sleep(600)

run(main)
"""


@pytest.mark.slow
def test_a_client_that_is_shut_out_in_the_middle_of_its_work(
    site: Site, stack: contextlib.ExitStack, tmp_path: Path
) -> None:
    """Its tasks end, it hears why, and another one has the node."""
    file = tmp_path / "anna.grant"
    write_grant(file, ClusterKeys.derive(site.secret), "client", "Anna", 1)
    node, port = site.node(1)
    stack.enter_context(node)
    client = stack.enter_context(_client(site, tmp_path, f"grant={str(file)!r}", WORKS_ON))
    client.wait_for("begun")
    commands = ["-m", "parkcos.commands.scheduler", "--secret_file", str(site.secret_file)]
    where = ["-i", "127.0.0.1", "-u", str(site.udp - 1), "--node", f"127.0.0.1:{port}"]
    told = run([sys.executable, "-u", *commands, *where, "--revoke", "Anna"], 60)
    assert told.returncode == 0, told.stderr
    node.wait_for("its grant is revoked")
    node.wait_for("-> free")
    client.wait_for("ended: ")
    client.wait_for("it was shut out: its grant is revoked")
    client.end(9)
    other = stack.enter_context(_client(site, tmp_path, f"secret_file={str(site.secret_file)!r}"))
    other.wait_for(r"squares \[0, 1, 4, 9\]")
    assert other.wait() == 0


@pytest.mark.slow
def test_a_scheduler_with_a_grant(site: Site, stack: contextlib.ExitStack, tmp_path: Path) -> None:
    """It gives nodes to clients, and holds nothing with which to be one of them."""
    file = tmp_path / "queue.grant"
    write_grant(file, ClusterKeys.derive(site.secret), "scheduler", "the queue", 1)
    secret, site.options = site.options, ["-i", "127.0.0.1", "--grant", str(file), "--daemon"]
    scheduler, _ = site.scheduler()
    stack.enter_context(scheduler)
    scheduler.wait_for("uses address")
    site.options = secret
    node, _ = site.node(1)
    stack.enter_context(node)
    node.wait_for("belongs to the shared scheduler")
    client = stack.enter_context(_client(site, tmp_path, f"secret_file={str(site.secret_file)!r}"))
    client.wait_for("using the shared scheduler")
    client.wait_for(r"squares \[0, 1, 4, 9\]")
    assert client.wait() == 0
    node.wait_for(r"a scheduler, by the grant [0-9a-f]{16} of the queue")
