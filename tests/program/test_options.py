"""The options of the two commands: their names, their defaults, and which ports and addresses they mean."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from parkcos.commands import node, scheduler
from parkcos.errors import ConfigError
from parkcos.net.location import Location
from parkcos.program.options import (
    SPARE_PORTS,
    enough_ports,
    network_options,
    parse_location,
    parse_ports,
    ports_to_try,
)

Parser = Callable[[], argparse.ArgumentParser]

# Names: those of the chapter, and those that later versions gave the same options.


@pytest.mark.parametrize("parser", [node._parser, scheduler._parser], ids=["node", "scheduler"])
@pytest.mark.parametrize(
    ("names", "values", "dest", "meant"),
    [
        (["-i", "--ip_addr", "--host"], ["10.0.0.1", "10.1.0.1"], "host", ["10.0.0.1", "10.1.0.1"]),
        (["--ext_ip_addr", "--ext_host"], ["192.0.2.1", "192.0.2.2"], "ext_host", ["192.0.2.1", "192.0.2.2"]),
        (["-u", "--udp_port"], ["9000"], "udp_port", 9000),
        (["-n", "--name"], ["me"], "name", "me"),
        (["-s", "--secret"], ["a long secret"], "secret", "a long secret"),
        (["-d", "--debug"], [], "debug", True),
        (["--daemon"], [], "daemon", True),
        (["--ipv4_udp_multicast"], [], "ipv4_udp_multicast", True),
    ],
)
def test_options_of_both(parser: Parser, names: list[str], values: list[str], dest: str, meant: Any) -> None:
    assert not getattr(parser().parse_args([]), dest)
    for name in names:
        argv = [word for value in values for word in (name, value)] if values else [name]
        assert getattr(parser().parse_args(argv), dest) == meant


def test_options_of_one() -> None:
    for name in ("-c", "--cpus"):
        assert node._parser().parse_args([name, "-1"]).cpus == -1
    for name in ("--tcp_ports", "--node_ports"):
        assert node._parser().parse_args([name, "1", name, "3-4"]).tcp_ports == ["1", "3-4"]
    for name in ("-t", "--tcp_port", "--scheduler_port"):
        assert scheduler._parser().parse_args([name, "9000"]).tcp_port == 9000
    assert node._parser().parse_args(["--peer", "a", "--peer", "b:1"]).peer == ["a", "b:1"]
    assert scheduler._parser().parse_args(["--node", "a", "--node", "b:1"]).node == ["a", "b:1"]


def test_defaults() -> None:
    args = node._parser().parse_args([])
    assert (args.cpus, args.serve, args.zombie_period) == (0, -1, 0.0)
    assert (args.min_pulse_interval, args.max_pulse_interval) == (10.0, 100.0)
    assert (args.service_start, args.service_stop, args.service_end) == (None, None, None)
    assert not (args.clean or args.daemon or args.max_file_size or args.dest_path or args.config or args.save_config)
    args = scheduler._parser().parse_args([])
    assert (args.tcp_port, args.zombie_period) == (9705, 1000.0)


# Ports


@pytest.mark.parametrize(
    ("ranges", "count", "ports"),
    [
        ([], 3, [9706, 9707, 9708]),
        (["3456"], 9, list(range(3456, 3465))),
        (["9706-9708"], 3, [9706, 9707, 9708]),
        (["9706-9720"], 3, list(range(9706, 9721))),
        (["2345-2347", "3779"], 9, [2345, 2346, 2347, 3779, 3780, 3781, 3782, 3783, 3784]),
        (["3779", "2345-2347"], 6, [3779, 2345, 2346, 2347, 3780, 3781]),
        (["5-7", "6"], 3, [5, 6, 7]),
        ([" 80 - 81 "], 2, [80, 81]),
        (["65534"], 2, [65534, 65535]),
    ],
)
def test_tcp_ports_in_their_three_forms(ranges: list[str], count: int, ports: list[int]) -> None:
    """`n`, `n1-n2`, repeated; what is lacking follows the highest.  The first is the node's."""
    assert parse_ports(ranges, count, 9706) == ports


@pytest.mark.parametrize("text", ["", "x", "1-", "-5", "7-5", "0", "65536", "1-70000", "1,2", "1.5"])
def test_tcp_ports_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--tcp_ports"):
        parse_ports([text], 1, 9706)


def test_ports_that_there_are_not() -> None:
    with pytest.raises(ConfigError, match="3 ports are needed, and beyond 65535 there are none"):
        parse_ports(["65534"], 3, 9706)
    with pytest.raises(ConfigError, match="100001 ports are needed"):
        parse_ports([], 100_001, 9706)


def test_ports_for_a_server_whose_own_is_taken() -> None:
    assert ports_to_try([9707, 9708], 9706, 1) == [9708, *range(9709, 9709 + SPARE_PORTS)]
    assert ports_to_try([9707], 9710, 0)[:2] == [9707, 9711], "the node's own is not among them"
    assert ports_to_try([65535], 9706, 0) == [65535]
    assert ports_to_try([], 9706, 0) == ports_to_try([], 9706, 5) == [0], "any that is free"


def test_ports_for_a_process_beside_the_servers() -> None:
    assert ports_to_try([9707, 9708], 9706, 1)[0] == 9708, "its own of those that are given, if more are than servers"
    assert ports_to_try([9707, 9708], 9706, 2) == [*range(9709, 9709 + SPARE_PORTS), 0]
    assert ports_to_try([9707, 9708], 9706, 3) == [*range(9710, 9710 + SPARE_PORTS), 0], "not that of the first"
    assert ports_to_try([65535], 9706, 1) == [0]


@pytest.mark.parametrize(
    ("ports", "own", "cpus", "enough"),
    [
        ([], 9706, 4, []),
        ([9707, 9708], 9706, 1, [9707, 9708]),
        ([9707], 9706, 3, [9707, 9708, 9709]),
        ([5000], 5002, 4, [5000, 5003, 5004, 5005]),
        ([65534], 9706, 4, [65534, 65535]),
    ],
)
def test_ports_for_more_servers(ports: list[int], own: int, cpus: int, enough: list[int]) -> None:
    """As with --tcp_ports: beyond the highest, which may be the node's own; it is not given to a server."""
    assert enough_ports(ports, own, cpus) == enough


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("127.0.0.1", Location("127.0.0.1", 9705)),
        ("127.0.0.1:9000", Location("127.0.0.1", 9000)),
        ("localhost:9000", Location("127.0.0.1", 9000)),
        ("::1", Location("::1", 9705)),
        ("[::1]:9000", Location("::1", 9000)),
    ],
)
def test_a_peer_is_a_host_and_perhaps_a_port(text: str, location: Location) -> None:
    assert parse_location(text, 9705) == location


def test_other_udp_ports_make_a_cluster_of_its_own() -> None:
    """`-u` of a node is one more than that of the scheduler and the clients, as 9706 is one more than 9705."""
    for parser, own, udp in ((node._parser, 9706, 9001), (scheduler._parser, 9705, 9000)):
        for argv, ports in (([], (own, [9705, 9706])), (["-u", str(udp)], (udp, [9000, 9001]))):
            args = parser().parse_args(["--no_secret", *argv])
            options = network_options(args, roles=(), dial_roles=set(), udp_port=own, tcp_ports=[1])
            assert (options.udp_port, list(options.target_udp_ports)) == ports


def test_debug_messages_are_asked_for() -> None:
    code = (
        "import logging, sys\n"
        "from parkcos.program.options import set_up_logging\n"
        "set_up_logging(debug=sys.argv[1] == 'True')\n"
        "logging.getLogger('parkcos').info('said'); logging.getLogger('parkcos').debug('in detail')\n"
    )
    for debug in (False, True):
        done = subprocess.run([sys.executable, "-c", code, str(debug)], capture_output=True, text=True, check=True)
        assert "INFO said" in done.stderr
        assert ("DEBUG in detail" in done.stderr) == debug
