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
from parkcos.net.trust.secret import ClusterKeys, default_secret_path, fingerprint, load_secret
from parkcos.net.trust.secret_text import flaw_of, make_secret
from tests.secret import OTHER_SECRET, SECRET


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
    assert flaw_of(made) == "" and made.startswith("parkcos-1-")
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
    assert load_secret(write(tmp_path / "s", b"  correct horse battery\r\n\n")) == "correct horse battery"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o620])
def test_refuses_a_file_open_to_others(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "s", b"correct horse battery", mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
        load_secret(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty: remove it"),
        (b" \n", "empty: remove it"),
        (b"tiny", "too short.*at least 16"),
        (b"abcabcabcabcabcabc", "too easy to guess"),
        pytest.param(f"{make_secret()[:-1]}\n".encode(), "not copied well", id="one character lost"),
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
    text = content.decode(errors="ignore").strip()
    assert not text or text not in str(caught.value).replace(str(path), "")


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
    write(tmp_path / "file", b"correct horse battery")
    with pytest.raises(ConfigError, match=r"file/secret cannot be"):
        load_secret(tmp_path / "file" / "secret")


def test_unreadable_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:  # root could read any file, so the refusal is acted
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path / "s", b"correct horse battery")
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
    assert flaw_of(got[0]) == ""
    assert os.listdir(path.parent) == ["secret"]


def test_keys_are_part_of_the_protocol() -> None:
    # Changing these locks out every process of the older version.
    own = ClusterKeys.derive("correct horse battery staple")
    assert own.ca_seed.hex() == "5a141713937eb8a440a2bdf33931961f114c06eadb3d01eecbcc289a13809040"
    assert own.mac_key.hex() == "2e83adca88d6fdf96e72cc6edd94394fd17b0d5257b4259c68c75d42cecef751"
    made = ClusterKeys.derive(SECRET)
    assert made.ca_seed.hex() == "12d90c86cb11523a7ef1e7c8847d0161535ac12ea76adb65019cd3b399ec40d8"
    assert made.mac_key.hex() == "ef21d7b21494a7910db6cddcd248e07f74064e172436e95805bcd2b981d10b7e"
    assert fingerprint(made) == "e743-e1d8-65fc"


@pytest.mark.parametrize("secret", [SECRET, "correct horse battery staple"])
def test_clusters_of_other_names_have_other_keys(secret: str) -> None:
    keys = [ClusterKeys.derive(secret), ClusterKeys.derive(secret, "lab"), ClusterKeys.derive(OTHER_SECRET, "lab")]
    found = [key for each in keys for key in (each.ca_seed, each.mac_key)]
    assert len(set(found)) == 6
    assert ClusterKeys.derive(secret, " lab\n") == keys[1], "white space around a name does not count"
    assert len({fingerprint(each) for each in keys}) == 3


@pytest.mark.parametrize("name", ["", " ", "two\nlines", "n" * 65])
def test_what_cannot_be_a_cluster_s_name(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be called"):
        ClusterKeys.derive(SECRET, name)


def test_one_text_one_secret() -> None:
    assert ClusterKeys.derive(" Zürich und Genève\n") == ClusterKeys.derive("Zu\u0308rich und Gene\u0300ve")


def test_keys_are_never_shown() -> None:
    keys = ClusterKeys(b"a" * 32, b"b" * 32)
    assert "aaa" not in repr(keys) + str(keys)
    assert "bbb" not in repr(keys) + str(keys)


@pytest.mark.parametrize(
    ("text", "words"), [("", "empty"), ("  \n ", "empty"), ("123456789012345", "too short"), ("\udc80" * 19, "text")]
)
def test_bad_secret(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ClusterKeys.derive(text)
