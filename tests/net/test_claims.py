"""parkcos/net/trust/claims.py: a program proves that it is the next run of one that was there before."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from parkcos.net.bounds import Number
from parkcos.net.trust.claims import SEED_BYTES, Claim, ClaimKey

KEY, OTHER = ClaimKey(b"k" * SEED_BYTES), ClaimKey(b"o" * SEED_BYTES)


def test_the_same_key_is_the_same_client_and_authority() -> None:
    again = ClaimKey(b"k" * SEED_BYTES)
    assert again.number == KEY.number != OTHER.number
    assert again.server_keys == KEY.server_keys
    assert KEY.server_keys.ca_seed != OTHER.server_keys.ca_seed
    assert KEY.server_keys.name != OTHER.server_keys.name
    assert msgspec.convert(KEY.number, Number) == KEY.number
    assert b"k" * SEED_BYTES not in (KEY.server_keys.ca_seed, KEY.server_keys.mac_key)
    assert "kkk" not in repr(KEY)


def test_a_claim_holds_for_its_client_its_run_and_its_process_alone() -> None:
    claim = KEY.claim(7, 2**62 + 5)
    assert claim.holds(KEY.number, 2**62 + 5)
    assert not claim.holds(KEY.number, 2**62 + 6), "another process has taken it up"
    assert not claim.holds(OTHER.number, 2**62 + 5)
    assert not replace(claim, run=8).holds(KEY.number, 2**62 + 5), "a later run than was signed"
    assert not replace(claim, public=OTHER.claim(7, 2**62 + 5).public).holds(OTHER.number, 2**62 + 5)
    assert not replace(claim, signature=b"\0" * 64).holds(KEY.number, 2**62 + 5)
    assert not replace(claim, public=b"\xff" * 32).holds(KEY.number, 2**62 + 5), "no point of the curve"


def test_a_claim_travels_within_its_bounds() -> None:
    claim = KEY.claim(1, 1)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(claim), type=Claim) == claim
    for bad in ([b"k" * 31, 1, b"s" * 64], [b"k" * 32, -1, b"s" * 64], [b"k" * 32, 1, b"s" * 65]):
        with pytest.raises(msgspec.ValidationError):
            msgspec.msgpack.decode(msgspec.msgpack.encode(bad), type=Claim)
