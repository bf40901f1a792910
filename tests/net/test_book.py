"""parkcos/net/session/book.py"""

from __future__ import annotations

import pytest

from parkcos.net.location import Location
from parkcos.net.session.book import Book
from parkcos.net.session.peer import GONE, UP, Peer
from parkcos.net.session.session import Hello, Session

HERE, THERE = Location("127.0.0.1", 1000), Location("127.0.0.1", 2000)


@pytest.fixture
def book() -> Book:
    own = Hello(1, "1", "3", 99, "here", "127.0.0.1", 1, ("peer",))

    def make(location: Location, incarnation: int, session: int) -> Peer:
        return Peer(location, incarnation, Session(own, session), lambda peer, lazy: None)

    return Book(make)


def found(book: Book, location: Location, incarnation: int = 0, *, anew: bool = False) -> tuple[Peer | None, bool]:
    return book.find(location, incarnation, (), anew)


def test_one_that_is_there_is_found_in_both_ways(book: Book) -> None:
    peer, is_new = found(book, HERE, 7)
    assert peer is not None
    assert is_new
    assert found(book, HERE) == found(book, HERE, 7) == (peer, False)
    assert found(book, THERE, 7) == (peer, False), "wherever it is said to be"
    other, is_new = found(book, HERE, 8)
    assert other is not peer, "another one has the place now, or is said to"
    assert is_new


def test_who_has_gone_is_no_more_at_its_location(book: Book) -> None:
    """Also in the moment before it is struck: whoever asks for whoever is there has somebody to be dialled."""
    old, _ = found(book, HERE, 7)
    assert old is not None
    old.state = GONE
    assert found(book, HERE, 7) == (None, False), "it is remembered that it has gone"
    new, is_new = found(book, HERE)
    assert new is not None
    assert new is not old
    assert is_new
    book.strike(old)
    assert found(book, HERE) == (new, False)
    again, is_new = found(book, HERE, 7, anew=True)
    assert again is new, "nobody knows yet who that is: it is dialled already"
    assert not is_new


def test_who_was_merged_just_now_is_found_as_the_other(book: Book) -> None:
    known, _ = found(book, HERE, 7)
    place, _ = found(book, THERE)
    assert known is not None
    assert place is not None
    known.state = UP
    place.merged, place.state = known, GONE
    assert found(book, THERE) == (known, False)
    book.replace(place, known)
    assert found(book, THERE) == (known, False)
