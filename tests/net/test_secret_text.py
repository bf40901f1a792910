"""parkcos/net/trust/secret_text.py"""

from __future__ import annotations

import secrets

import pytest

from parkcos.net.trust.secret_text import HOW_TO_MAKE, flaw_of, key_material, make_secret
from tests.secret import SECRET


@pytest.mark.parametrize(
    "text",
    [
        "correct horse battery staple",
        "  a secret of the tests\n",
        "Zürich-Genève, 12 h",
        "kX9#mQ2$vL7!pR4w",
        SECRET,
        SECRET.removeprefix("parkcos-1-"),
    ],
)
def test_what_can_be_a_secret(text: str) -> None:
    assert flaw_of(text) == ""


def test_what_parkcos_and_other_programs_make_can_be_one() -> None:
    for make in (make_secret, lambda: secrets.token_urlsafe(32), lambda: secrets.token_hex(16)):
        made = [make() for _ in range(300)]
        assert len(set(made)) == 300
        assert [flaw for text in made if (flaw := flaw_of(text))] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("test", "is too short: it needs at least 16 characters"),
        ("fifteen-letters", "is too short"),
        ("a" * 100, "is too easy to guess"),
        ("abcabcabcabcabcabcabc", "is too easy to guess"),
        ("1234567890123456", "is too easy to guess"),
        ("9876543210987654321", "is too easy to guess"),
        ("passwordpassword", "is too easy to guess"),
        ("Password1234567890", "is too easy to guess"),
        ("qwertyuiopasdfghjkl", "is too easy to guess"),
        ("pycos-secret-test", "is too easy to guess"),
        (SECRET[:-1], "was not copied well"),
        (f"{SECRET}0", "was not copied well"),
        (SECRET.replace("59830e", "59830f"), "was not copied well"),
        ("parkcos-1-", "was not copied well"),
        (SECRET.replace("parkcos-1-", "parkcos-2-"), "later version"),
        ("\udc80" * 20, "isn't valid text"),
    ],
)
def test_what_cannot_be_a_secret(text: str, words: str) -> None:
    assert words in flaw_of(text)
    assert not text.strip() or text not in flaw_of(text)


def test_only_a_text_of_the_user_s_own_is_stretched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def scrypt(text: bytes, *, salt: bytes, n: int, r: int, p: int, maxmem: int, dklen: int) -> bytes:
        asked.append((salt, n, r, p))
        return bytes(dklen)

    monkeypatch.setattr("hashlib.scrypt", scrypt)
    key_material(make_secret())
    assert not asked
    key_material("correct horse battery staple", "one")
    key_material("correct horse battery staple", "two")
    (one, *cost), (two, *_) = asked
    assert one != two, "the salt is the cluster's own"
    assert cost == [2**17, 8, 1]


def test_the_advice_names_the_command() -> None:
    assert HOW_TO_MAKE.endswith("parkcos.py --make_secret")
