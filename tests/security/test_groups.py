"""Where a node may make control groups (version 2), the system bounds a client's processes together, and ends them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from parkcos.errors import ConfigError
from parkcos.node.groups import START_BYTES, Group, Groups, find_groups, remove
from parkcos.node.limits import Limits
from tests.control_groups import topmost
from tests.live.lib import Ports
from tests.security.test_node_limits import MANY_TOGETHER, MIB, NEXT, SETS_UP, goes_wrong, serves_the_next

LIMITS = Limits(256 * MIB, 100)


@pytest.fixture
def place() -> Iterator[Path]:
    """A group in which others can be made."""
    top = topmost()
    assert top is not None
    folder = top / f"parkcos-tests-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
        assert [each.name for each in folder.iterdir() if each.is_dir()] == [], "nothing is left"
    finally:
        remove([folder])


# Which groups


def test_who_wants_no_bound_needs_none() -> None:
    assert find_groups(None, Limits()) is None
    assert find_groups(None, Limits(disk=1)) is None
    assert find_groups("none", LIMITS) is None


@pytest.mark.parametrize(
    ("controllers", "words"),
    [(None, "No such file or directory"), ("cpu io", "it has no controller for memory and pids")],
)
def test_a_place_where_none_can_be_made_is_said(tmp_path: Path, controllers: str | None, words: str) -> None:
    if controllers is not None:
        (tmp_path / "cgroup.controllers").write_text(controllers)
    with pytest.raises(ConfigError, match=f"--cgroup {tmp_path}: no control groups can be made there: {words}"):
        find_groups(str(tmp_path), LIMITS)


def test_a_group_that_cannot_be_had_is_no_hindrance(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The bounds that need none hold all the same."""
    group = Group(Groups(tmp_path / "gone", LIMITS, ["memory"]), os.getpid())
    group.take(0, os.getpid())
    assert group.ended(0) == group.end() == ""
    (text,) = (record.getMessage() for record in caplog.records)
    assert text.startswith("the process from which servers start is in no control group: ")


@pytest.mark.control_groups
def test_groups_of_a_node_that_was_killed_are_removed(place: Path) -> None:
    (place / "parkcos-4194305-ab" / "client-1" / "server-1").mkdir(parents=True)  # no process has so high a number
    (place / "parkcos-1-ab").mkdir()
    groups = find_groups(str(place), LIMITS)
    assert groups is not None
    assert {each.name for each in place.iterdir() if each.is_dir()} == {"parkcos-1-ab", groups.folder.name}
    groups.close()
    (place / "parkcos-1-ab").rmdir()


@pytest.mark.control_groups
def test_only_what_its_zygote_has_started_is_taken(place: Path) -> None:
    groups = find_groups(str(place), LIMITS)
    assert groups is not None
    with psutil.Popen(["sleep", "600"]) as zygote, psutil.Popen(["sleep", "600"]) as other:
        group = groups.begin(zygote.pid)
        for index, pid in enumerate([other.pid, 0, -1, os.getpid(), 4194305]):
            group.starts(index)
            group.take(index, pid)
            assert group.ended(index) == ""
        for pid in (other.pid, os.getpid()):
            assert groups.folder.name not in Path(f"/proc/{pid}/cgroup").read_text()
        at = Path(f"/proc/{zygote.pid}/cgroup").read_text()
        assert at.endswith(f"/{groups.folder.name}/client-1/zygote-{zygote.pid}\n")
        group.take(7, zygote.pid)  # no such server was to start
        assert Path(f"/proc/{zygote.pid}/cgroup").read_text() == at
        assert (groups.folder / "client-1" / "pids.max").read_text() == "100\n"
        assert group.end() == ""
        assert zygote.wait() == -9
        other.kill()
    groups.close()


@pytest.mark.control_groups
def test_a_server_that_starts_does_not_count_for_its_zygote(place: Path) -> None:
    """What it has touched until it has a group of its own stays where it was charged."""
    groups = find_groups(str(place), LIMITS)
    assert groups is not None
    with psutil.Popen(["sleep", "600"]) as zygote:
        group = groups.begin(zygote.pid)
        most = groups.folder / "client-1" / f"zygote-{zygote.pid}" / "memory.max"
        for index in range(3):
            group.starts(index)
        assert int(most.read_text()) == LIMITS.memory + 3 * START_BYTES
        assert group.ended(1) == ""
        assert int(most.read_text()) == LIMITS.memory + 2 * START_BYTES
        group.end()
    groups.close()


# What they do


@pytest.mark.control_groups
@pytest.mark.live
@pytest.mark.slow
def test_the_system_bounds_the_memory_of_all(ports: Ports, tmp_path: Path, place: Path) -> None:
    node, client = goes_wrong(
        ports, tmp_path, MANY_TOGETHER, "--max_memory", "256M", lines="^then fine", cgroup=str(place)
    )
    client.wait_for(r"^heard: .* (killed its processes: they have used 256 MiB|its processes use .*) .*--max_memory\)")
    node.wait_for(r"bounded by the control group .* \(memory\)")


FORKS = """
held = []
try:
    for _ in range(300):
        held.append(subprocess.Popen(['sleep', '600'], start_new_session=True, env={}))
except BlockingIOError as error:
    if len(held) < 100:
        raise RuntimeError(f"no more than {len(held) // 100} hundred: {error}")
raise RuntimeError(f"{len(held)} were started")
"""


@pytest.mark.control_groups
@pytest.mark.live
@pytest.mark.slow
def test_the_system_starts_no_more_processes(ports: Ports, tmp_path: Path, place: Path) -> None:
    """Of those that hide, too."""
    _, client = goes_wrong(ports, tmp_path, FORKS, "--max_processes", "100", lines="^then fine", cgroup=str(place))
    client.wait_for("^heard: .*no more than 0 hundred: .*Resource temporarily unavailable")


HIDES = """
child = subprocess.Popen(
    [sys.executable, "-c",
     "import os, time; os.fork() and os._exit(0); print(os.getpid(), flush=True); time.sleep(600)"],
    start_new_session=True, env={}, stdout=subprocess.PIPE, text=True)
raise RuntimeError(f"hidden {child.stdout.readline()}")
"""


@pytest.mark.control_groups
@pytest.mark.live
@pytest.mark.slow
def test_nobody_hides_at_the_end(ports: Ports, tmp_path: Path, place: Path) -> None:
    """Not even who has a session of its own, another parent and no environment."""
    _, client = goes_wrong(ports, tmp_path, HIDES, "--max_processes", "100", lines="^then fine", cgroup=str(place))
    hidden = client.wait_for(r"^heard: .*hidden (\d+)").group(1)
    assert not psutil.pid_exists(int(hidden))


@pytest.mark.control_groups
@pytest.mark.live
@pytest.mark.slow
def test_node_setup_is_bounded_in_its_group(ports: Ports, tmp_path: Path, place: Path) -> None:
    body = "import subprocess, sys, time\n    " + MANY_TOGETHER.strip().replace("\n", "\n    ")
    node, _ = ports.node(1, "--cgroup", str(place), "--max_memory", "256M")
    with node:
        with ports.client(tmp_path, SETS_UP.format(body=body)) as client:
            client.wait_for(r"(killed its processes|its processes use).*--max_memory")
            client.end()
        serves_the_next(ports, tmp_path, node)


def made(folder: Path) -> Path:
    """A group, in which others can be made."""
    (folder.parent / "cgroup.subtree_control").write_text("+memory +pids")
    folder.mkdir()
    return folder


IN_A_GROUP = """
import os, sys
from pathlib import Path

Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
from parkcos.commands import node

sys.exit(node.main(sys.argv[2:]))
"""


@pytest.mark.control_groups
@pytest.mark.live
@pytest.mark.slow
def test_a_node_uses_the_group_that_it_was_given(ports: Ports, tmp_path: Path, place: Path) -> None:
    """As a service has it whose group is delegated: it makes room there, for itself and for its clients."""
    (tmp_path / "in_a_group.py").write_text(IN_A_GROUP)
    made(place / "service")
    node, _ = ports.node(1, "--max_processes", "100", command=[str(tmp_path / "in_a_group.py"), str(place / "service")])
    with node:
        node.wait_for(rf"bounded by the control group {place}/service/parkcos-{node.pid}-\w+ \(pids\)")
        with ports.client(tmp_path, NEXT) as client:
            client.wait_for("^next fine")
            assert client.wait() == 0
        assert node.end() == 0
    home = place / "service" / f"parkcos-{node.pid}-node"
    assert [each for each in (place / "service").iterdir() if each.is_dir()] == [home]
    home.rmdir()
    (place / "service").rmdir()


@pytest.mark.control_groups
@pytest.mark.live
def test_a_node_that_shares_its_group_makes_none(ports: Ports, tmp_path: Path, place: Path) -> None:
    """It cannot send the others out of it; and says so."""
    (tmp_path / "in_a_group.py").write_text(IN_A_GROUP)
    shared = made(place / "shared")
    with psutil.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as other:
        (shared / "cgroup.procs").write_text(str(other.pid))
        node, _ = ports.node(1, "--max_processes", "100", command=[str(tmp_path / "in_a_group.py"), str(shared)])
        with node:
            node.wait_for("bounded by looking at it, not by control groups: Device or resource busy")
            assert f":/{shared.relative_to(str(topmost()))}\n" in Path(f"/proc/{node.pid}/cgroup").read_text()
            assert node.end() == 0
        other.kill()
    shared.rmdir()
