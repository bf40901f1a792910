"""parkcos/node/identity.py and as_client.py, as far as they need no other user; see tests/live/test_suid.py."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from parkcos.errors import ConfigError
from parkcos.node import as_client
from parkcos.node.family import new_mark
from parkcos.node.identity import ClientUser, choose, remove_folder, settle

SUID = stat.S_IFREG | 0o6755


def test_without_suid_there_is_no_other_user() -> None:
    assert choose((1000, 1000), (1000, 1000), 0o755, 0) is None
    assert choose((0, 0), (0, 0), 0o755, 0) is None
    assert settle() is None


def test_clients_tasks_run_as_the_interpreters_user() -> None:
    assert choose((1000, 100), (2000, 200), SUID, 2000) == ClientUser(2000, 200, 100)
    assert choose((1000, 100), (2000, 100), 0o4755, 2000) == ClientUser(2000, 100, 100)
    assert choose((0, 0), (2000, 200), SUID, 2000) == ClientUser(2000, 200, 0), "root may have started it"
    assert choose((1000, 100), (1000, 200), 0o2755, 0) == ClientUser(1000, 200, 100, same_user=True)
    assert choose((2000, 200), (2000, 200), SUID, 2000) is None, "the clients' user has started it"


@pytest.mark.parametrize("effective", [(0, 0), (0, 100), (1000, 0), (2000, 0), (0, 200)])
def test_tasks_never_run_as_root(effective: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=r"sgid root.*chown.*chmod ug[+]s"):
        choose((1000, 100), effective, SUID, effective[0])


def test_suid_without_effect_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"nosuid.*no_new_privs.*chmod ug-s"):
        choose((1000, 100), (1000, 100), SUID, 2000)


def test_the_users_are_named_where_they_have_names() -> None:
    assert str(ClientUser(0, 0, 0)).startswith("user root, group ")
    assert str(ClientUser(2**31 - 7, 2**31 - 8, 0)) == f"user {2**31 - 7}, group {2**31 - 8}"


def test_nobody_becomes_what_the_interpreter_does_not_make_him() -> None:
    with pytest.raises(PermissionError, match=r"does not run as user 4711, group 4712"):
        as_client.become(4711, 4712)
    user = ClientUser(4711, 4712, os.getgid())
    for act in (
        lambda: user.kill(0, [os.getpid()]),
        lambda: user.remove(Path("/nonexistent")),
        lambda: user.check_folder(Path("/")),
    ):
        with pytest.raises(ConfigError, match=r"cannot act as the clients' user 4711, group 4712: .*mode \(ug[+]s\)"):
            act()


def test_as_its_own_user_the_script_does_what_it_is_told(tmp_path: Path) -> None:
    user = ClientUser(os.getuid(), os.getgid(), os.getgid())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert user.kill(9, [process.pid]) == []
        assert process.wait() == -9
    assert user.kill(9, [process.pid]) == []
    folder = tmp_path / "a folder"
    folder.mkdir(mode=0o700)
    user.let_in(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o770
    (folder / "deep").mkdir()
    user.remove(folder)
    assert not folder.exists()
    with pytest.raises(ConfigError, match=r"could change what is in"):
        user.check_folder(tmp_path)


FORKS = """
import os, signal, sys
if not os.fork():  # the first zygote
    if not os.fork():  # a process of the client
        signal.pause()
    os._exit(0)
os.wait()  # so the client's process has nobody of its own any more
pid = os.fork()
if not pid:  # on its way to become the next zygote
    signal.pause()
print(pid, flush=True)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the system does not show environments")
def test_what_a_node_is_about_to_start_is_not_taken_for_its_clients() -> None:
    """The end of a zygote killed the next one, which had the node's environment for a moment."""
    mark = new_mark()
    command = [sys.executable, "-c", FORKS]
    with subprocess.Popen(
        command, env=os.environ | {as_client.FAMILY: mark}, stdout=subprocess.PIPE, text=True
    ) as node:
        assert node.stdout is not None
        starting = int(node.stdout.readline())
        of_client = set(as_client._of_family([mark])) - {node.pid, starting}
        assert len(of_client) == 1
        assert as_client.end_family([mark], node.pid)
        assert set(as_client._of_family([mark])) == {node.pid, starting}
        os.kill(starting, signal.SIGTERM)
        assert node.communicate()[0] == f"{-signal.SIGTERM}\n"
    with subprocess.Popen(
        command, env=os.environ | {as_client.FAMILY: mark}, stdout=subprocess.PIPE, text=True
    ) as node:
        assert node.stdout is not None and node.stdout.readline()
        assert as_client.end_family([mark]), "nobody is spared whom the caller does not name"
        assert node.wait() == -signal.SIGKILL


def test_what_cannot_be_removed_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert remove_folder(tmp_path / "none", None) == ""
    stranger = ClientUser(4711, 4712, os.getgid())
    assert remove_folder(tmp_path / "none", stranger) == ""
    assert "does not run as user 4711" in remove_folder(tmp_path / "file", stranger), "rmtree removes folders only"
