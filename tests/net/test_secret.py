"""parkcos/net/trust/secret.py"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from parkcos.errors import ConfigError
from parkcos.net.trust import secret as module
from parkcos.net.trust.secret import ClusterKeys, default_secret_path, load_secret


def test_default_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert default_secret_path() == tmp_path / "xdg" / "parkcos" / "secret"
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CONFIG_HOME", value)
        assert default_secret_path() == tmp_path / ".config" / "parkcos" / "secret"


def test_made_on_first_use(tmp_path: Path) -> None:
    path = tmp_path / "config" / "parkcos" / "secret"
    made = load_secret(path)
    assert len(made) >= 43  # 256 bits
    assert load_secret(path) == made
    assert path.read_text().strip() == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["secret"]
    assert load_secret(tmp_path / "other") != made


def test_made_at_the_default_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: Any) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert load_secret() == load_secret(tmp_path / "parkcos" / "secret")
    assert not caplog.records


def test_a_path_that_may_be_mistyped(tmp_path: Path, caplog: Any) -> None:
    for _ in range(2):
        load_secret(tmp_path / "secert")
    (record,) = caplog.records
    assert f"no secret in {tmp_path}/secert: a new one was made there" in record.getMessage()


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_white_space_does_not_count(tmp_path: Path) -> None:
    assert load_secret(write(tmp_path / "s", b"  correct horse\r\n\n")) == "correct horse"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o620])
def test_refuses_a_file_open_to_others(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "s", b"correct horse", mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
        load_secret(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty: remove it"),
        (b" \n", "empty: remove it"),
        (b"short", "too short"),
        (b"\xff" * 20, "not text"),
        (b"x" * 5000, "larger than"),
    ],
)
def test_refuses_bad_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, words: str) -> None:
    monkeypatch.setattr(module, "_HALF_WRITTEN_WAIT_S", 0.02)
    path = write(tmp_path / "s", content)
    with pytest.raises(ConfigError, match=words) as caught:
        load_secret(path)
    assert str(path) in str(caught.value)


def test_refuses_what_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HALF_WRITTEN_WAIT_S", 0.02)
    with pytest.raises(ConfigError, match="regular file"):
        load_secret(tmp_path)
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(ConfigError, match="regular file"):
        load_secret(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="leads nowhere"):
        load_secret(tmp_path / "link")
    write(tmp_path / "file", b"correct horse")
    with pytest.raises(ConfigError, match=r"file/secret cannot be"):
        load_secret(tmp_path / "file" / "secret")


def test_unreadable_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:  # root could read any file, so the refusal is acted
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path / "s", b"correct horse")
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ConfigError, match=r"cannot be read \(Permission denied\)") as caught:
        load_secret(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("links", [True, False])
def test_one_loses_the_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    path = tmp_path / "secret"

    def another_is_faster(source: object, target: object) -> None:
        write(path, b"the other program's")
        raise FileExistsError(17, "File exists") if links else OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", another_is_faster)
    assert load_secret(path) == "the other program's"
    assert os.listdir(tmp_path) == ["secret"]


def test_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    made = load_secret(tmp_path / "secret")
    assert load_secret(tmp_path / "secret") == made
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


RACER = """
import os, sys
from pathlib import Path
if sys.argv[2] == "no links":
    def refuse(*_): raise OSError(95, "Operation not supported")
    os.link = refuse
from parkcos.net.trust.secret import load_secret
print("ready", flush=True)
sys.stdin.readline()
print(load_secret(Path(sys.argv[1])))
"""


@pytest.mark.live
@pytest.mark.parametrize("links", ["links", "no links"])
def test_programs_that_start_at_once_agree(tmp_path: Path, links: str) -> None:
    path = tmp_path / "config" / "parkcos" / "secret"
    root = Path(__file__).parents[2]
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(path), links],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root,
        )
        for _ in range(8)
    ]  # fmt: skip
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    got = [racer.communicate(timeout=30)[0].strip() for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * len(racers)
    assert len(set(got)) == 1
    assert len(got[0]) >= 43
    assert os.listdir(path.parent) == ["secret"]


def test_keys_are_part_of_the_protocol() -> None:
    keys = ClusterKeys.derive("correct horse battery staple")
    # Changing these locks out every process of the older version.
    assert keys.ca_seed.hex() == "1e07002c88e71123359a1469854581b463e52058c4ab2154482bf5a347857d7a"
    assert keys.mac_key.hex() == "a3b45350a18d4324cfc71b44b86e34dc1646cf63e62b57c8224c4559412c1bd1"
    assert keys != ClusterKeys.derive("correct horse battery stapler")
    assert keys.ca_seed != keys.mac_key


def test_one_text_one_secret() -> None:
    assert ClusterKeys.derive(" Zürich-Genève\n") == ClusterKeys.derive("Zu\u0308rich-Gene\u0300ve")


def test_keys_are_never_shown() -> None:
    keys = ClusterKeys(b"a" * 32, b"b" * 32)
    assert "aaa" not in repr(keys) + str(keys)
    assert "bbb" not in repr(keys) + str(keys)


@pytest.mark.parametrize(
    ("text", "words"), [("", "empty"), ("  \n ", "empty"), ("1234567", "too short"), ("\udc80" * 9, "text")]
)
def test_bad_secret(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ClusterKeys.derive(text)
