"""parkcos/net/location.py"""

from __future__ import annotations

import copy
import pickle
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parkcos.errors import ConfigError
from parkcos.net.location import Location, is_loopback, numeric_address, resolve


def test_value() -> None:
    a = Location("10.0.0.5", 9705)
    assert (a.addr, a.port) == ("10.0.0.5", 9705)
    assert a == Location("10.0.0.5", 9705) != Location("10.0.0.5", 9706)
    assert len({a, Location("10.0.0.5", 9705), Location("10.0.0.6", 9705)}) == 2
    assert sorted([Location("10.0.0.6", 1), Location("10.0.0.5", 9), a])[0] == Location("10.0.0.5", 9)
    assert a != ("10.0.0.5", 9705)
    with pytest.raises(TypeError):
        _ = a < ("10.0.0.5", 9705)


def test_immutable_and_without_dict() -> None:
    a = Location("10.0.0.5", 9705)
    with pytest.raises(AttributeError, match="cannot be changed"):
        a.port = 1
    with pytest.raises(AttributeError, match="cannot be changed"):
        del a.addr
    assert not hasattr(a, "__dict__")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol: int) -> None:
    for a in (Location("10.0.0.5", 9705), Location("fd00::5", 1)):
        assert pickle.loads(pickle.dumps(a, protocol)) == a == copy.deepcopy(a)


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("10.0.0.5", "10.0.0.5:80"),
        ("FD00:0::5", "[fd00::5]:80"),
        ("::ffff:10.0.0.5", "10.0.0.5:80"),
        ("fe80::1%eth0", "[fe80::1%eth0]:80"),
    ],
)
def test_one_spelling(host: str, shown: str) -> None:
    location = Location(host, 80)
    assert repr(location) == str(location) == shown
    assert Location.parse(shown) == location


def test_localhost_is_ipv4() -> None:
    assert Location("localhost", 1).addr == "127.0.0.1"


@pytest.mark.parametrize("host", ["", " ", "no.such.host.invalid", "a" * 70 + ".invalid", "a\0b", "[::1]", "fe80::1%"])
def test_host_that_means_nothing(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    if len(host) < 70 and "\0" not in host:  # those two are refused before anybody is asked
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(ConfigError, match="host"):
        Location(host, 1)


def test_unresolvable_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(ConfigError, match=r"'mars' cannot be resolved \(Name or service not known\).*IP address"):
        resolve("mars")


@pytest.mark.parametrize("port", [-1, 65536, "x", None])
def test_bad_port(port: object) -> None:
    with pytest.raises(ConfigError, match="TCP port"):
        Location("10.0.0.5", port)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "10.0.0.5", "10.0.0.5:", ":80", "::1:80", "10.0.0.5:x", "10.0.0.5:-1", "[::1]"])
def test_parse_refuses(text: str) -> None:
    with pytest.raises(ConfigError):
        Location.parse(text)


@settings(deadline=None)
@given(st.ip_addresses(), st.integers(0, 65535))
def test_parse_is_the_inverse(ip: object, port: int) -> None:
    location = Location(str(ip), port)
    assert Location.parse(str(location)) == location
    assert numeric_address(location.addr) == location.addr


@settings(deadline=None)
@given(st.text())
def test_numeric_address_never_raises(text: str) -> None:
    numeric_address(text)


def test_is_loopback() -> None:
    assert is_loopback("127.0.0.1")
    assert is_loopback("127.9.9.9")
    assert is_loopback("::1")
    assert not is_loopback("10.0.0.5")
    assert not is_loopback("fd00::1")
