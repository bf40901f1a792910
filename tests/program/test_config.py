"""parkcos/program/config.py"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from parkcos.errors import ConfigError
from parkcos.program.config import add_config_options, parse_with_config, save_config
from parkcos.program.options import add_network_options


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    made.add_argument("-c", "--cpus", type=int, default=0)
    made.add_argument("--zombie_period", type=float, default=0.0)
    made.add_argument("--peer", action="append", default=[])
    made.add_argument("--clean", action="store_true")
    add_config_options(made)
    add_network_options(made)
    return made


def parse(*argv: str) -> argparse.Namespace:
    return parse_with_config(parser(), argv)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "node.json"


def test_what_is_saved_comes_back(file: Path, tmp_path: Path) -> None:
    argv = ["-c", "-1", "--zombie_period", "1.5", "--peer", "a", "--peer", "b:9705", "--daemon", "-u", "9000"]
    argv += ["--dest_path", str(tmp_path / "é"), "--secret_file", "/s"]
    unique = ["-n", "me", "-i", "10.0.0.1", "--ext_ip_addr", "192.0.2.1", "-s", "word", "--clean"]
    args = parse(*argv, *unique)
    said = save_config(file, parser(), args)
    assert file.stat().st_mode & 0o777 == 0o600
    for name in ("name", "ip_addr", "ext_ip_addr", "secret", "clean"):
        assert f"--{name} is not saved: " in said
    assert set(json.loads(file.read_text())) == {
        *("cpus", "zombie_period", "peer", "daemon", "udp_port", "dest_path", "secret_file")
    }
    assert vars(parse("--config", str(file))) == {**vars(parse(*argv)), "config": file}
    assert list(tmp_path.iterdir()) == [file], "nothing beside it"


def test_the_command_line_wins(file: Path) -> None:
    file.write_text('{"cpus": 4, "peer": ["a", "b"], "udp_port": 9000, "zombie_period": 5}')
    args = parse("--config", str(file), "-c", "0", "--peer", "c", "--zombie_period=0")
    assert (args.cpus, args.peer, args.udp_port, args.zombie_period) == (0, ["c"], 9000, 0.0)
    args = parse("--config", str(file))
    assert (args.cpus, args.peer, args.zombie_period) == (4, ["a", "b"], 5.0)
    file.write_text('{"no_secret": true}')
    args = parse("--config", str(file), "--secret_file", "/s")
    assert not args.no_secret
    file.write_text('{"secret_file": "/s"}')
    assert parse("--config", str(file), "--no_secret").secret_file is None
    assert parse("--config", str(file), "-s", "word").secret_file is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not JSON as --save_config writes it"),
        ("__import__('os')", "is not JSON"),
        ("[1]", "must be an object of options"),
        ('{"cpu": 1}', "there is no option 'cpu' that can be saved; perhaps 'cpus' is meant"),
        ('{"name": "n"}', "'name' cannot stand in such a file: it is one machine's own"),
        ('{"secret": "open to all"}', "'secret' cannot stand in such a file: others could read it there"),
        ('{"xyzzy": 1}', "known are cpus, zombie_period, peer"),
        ('{"cpus": 1, "cpus": 2}', "'cpus' stands there twice"),
        ('{"cpus": "4"}', 'cpus: must be a whole number; it is "4"'),
        ('{"cpus": true}', "cpus: must be a whole number; it is true"),
        ('{"cpus": 1.5}', "cpus: must be a whole number; it is 1.5"),
        ('{"zombie_period": "5"}', "zombie_period: must be a number"),
        ('{"daemon": 1}', "daemon: must be true or false; it is 1"),
        ('{"peer": "a"}', 'peer: must be a list, as ["PEER"]; it is "a"'),
        ('{"peer": [1]}', "peer: must be a text"),
        ('{"certfile": 7}', 'certfile: must be a text, as "FILE"; it is 7'),
        ('{"cpus": null}', "cpus: must be a whole number; it is null"),
    ],
)
def test_what_is_wrong_is_named(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        parse("--config", str(file))
    assert f"--config {file}: " in str(caught.value)
    assert words in str(caught.value)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        parse("--config", str(tmp_path / "none"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is no text"):
        parse("--config", str(tmp_path / "binary"))
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        save_config(tmp_path / "none" / "file", parser(), parse("-c", "2"))
