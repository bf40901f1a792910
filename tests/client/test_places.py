"""parkcos/client/places.py: which server is idle, and where there is the least to do."""

from __future__ import annotations

from parkcos.client.places import Places
from parkcos.client.records import ENDING, OPENING, PAUSED
from tests.client.driven import M, N
from tests.client.made import add_node, add_server


def test_nobody_is_idle() -> None:
    places = Places()
    assert (places.idle_server(), places.idle) == (None, 0)
    node = add_node(places, N)
    add_server(places, N, N + 1, OPENING)
    assert (places.idle_server(), places.idle, node.idle) == (None, 0, {})


def test_the_idle_server_is_the_first_one_at_the_node_of_which_the_smallest_share_is_busy() -> None:
    places = Places()
    add_node(places, N, 2)
    add_node(places, M, 3)
    assert places.idle_server() == N + 1, "of equals who was there first"
    places.is_busy(N + 1, places.servers[N + 1])
    assert places.idle_server() == M + 1
    places.is_busy(M + 1, places.servers[M + 1])
    assert places.idle_server() == M + 2, "a third is less than a half"
    places.is_busy(M + 2, places.servers[M + 2])
    assert places.idle_server() == N + 2, "and two thirds are more"
    assert places.idle == 2


def test_what_others_use_of_a_node_counts() -> None:
    places = Places()
    node = add_node(places, N, 2)
    add_node(places, M, 2)
    node.foreign = 0.4
    places.weigh(N, node)
    assert places.idle_server() == M + 1
    places.is_busy(M + 1, places.servers[M + 1])
    assert places.idle_server() == N + 1, "0.4 is less than a half"


def test_idle_and_busy_are_counted_once() -> None:
    places = Places()
    node = add_node(places, N, 2)
    first = places.servers[N + 1]
    places.is_idle(N + 1, first)
    assert (places.idle, list(node.idle)) == (2, [N + 1, N + 2])
    for _ in range(2):
        places.is_busy(N + 1, first)
        assert (places.idle, list(node.idle)) == (1, [N + 2])
    places.is_idle(N + 1, first)
    assert (places.idle, list(node.idle)) == (2, [N + 2, N + 1]), "it is behind those that have been idle for longer"
    places.is_busy(N + 1, first)
    places.is_busy(N + 2, places.servers[N + 2])
    assert places.idle_server() is None
    assert places.idle_nodes.lightest() is None, "a node that is busy is not looked at in vain"


def test_io_tasks_go_where_the_fewest_are_of_all_open_servers_and_of_those_of_a_node() -> None:
    places = Places()
    node = add_node(places, N, 2)
    add_node(places, M, 1)
    add_server(places, N, N + 3, OPENING)
    for at in (N + 1, M + 1):
        places.servers[at].io[at] = None
        places.weigh_io(at, places.servers[at])
    assert (places.io_servers.lightest(), node.io_servers.lightest()) == (N + 2, N + 2)
    places.servers[N + 2].io.update({1: None, 2: None})
    places.weigh_io(N + 2, places.servers[N + 2])
    assert places.io_servers.lightest() in (N + 1, M + 1)
    assert node.io_servers.lightest() == N + 1
    places.weigh_io(N + 3, places.servers[N + 3])
    assert node.io_servers.lightest() == N + 1, "it is not open"


def test_nothing_more_is_sent_to_a_server_that_is_retired() -> None:
    places = Places()
    node, other = add_node(places, N, 2), add_node(places, M, 1)
    places.retire(N + 1)
    assert places.servers[N + 1].state == ENDING
    assert (list(node.idle), places.idle) == ([N + 2], 2)
    assert places.idle_server() == M + 1, "half of the servers of the first node have nothing to offer"
    assert (places.io_servers.lightest(), node.io_servers.lightest()) == (N + 2, N + 2)
    places.retire(M + 1, PAUSED)
    assert places.servers[M + 1].state == PAUSED
    assert (places.idle_server(), places.io_servers.lightest(), other.io_servers.lightest()) == (N + 2, N + 2, None)


def test_a_server_that_was_busy_when_it_was_retired_still_counts_among_those_of_its_node() -> None:
    places = Places()
    node = add_node(places, N, 2)
    add_node(places, M, 2)
    places.is_busy(M + 1, places.servers[M + 1])
    places.is_busy(N + 1, places.servers[N + 1])
    del node.servers[N + 1]
    places.retire(N + 1)
    assert places.idle_server() == N + 2, "it has one server left, which is idle"


def test_servers_whose_node_is_gone() -> None:
    places = Places()
    add_node(places, N, 1)
    server = places.servers[N + 1]
    del places.nodes[N]
    places.is_busy(N + 1, server)
    places.retire(N + 1)
    assert server.state == ENDING
    assert places.io_servers.lightest() is None


def test_tasks_may_wait_for_all_nodes_and_servers() -> None:
    places = Places()
    node = add_node(places, N, 1)
    server = add_server(places, N, N + 2, OPENING)
    assert places.holders() == [node, places.servers[N + 1], server]
