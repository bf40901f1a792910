"""Who may look, and who may act: the two tokens of a site.  No comparison tells by its time how much is right."""

from __future__ import annotations

import hmac
import secrets

from parkcos.errors import ConfigError
from parkcos.web.kind import PLAIN, Kind

TOKEN_MIN = 16
"""Characters of a token that is given."""


class Tokens:
    """The tokens of one site.

    Args:
        token: of who may look and act; None: a new one.
        view_token: of who may look only; None: nobody has one.
        kind: of the site.

    Raises: ConfigError.
    """

    def __init__(self, token: str | None, view_token: str | None = None, kind: Kind = PLAIN) -> None:
        _check(token, f"the {kind.name}'s token", "leave it out, and one is made and written to the log")
        _check(view_token, f"the {kind.name}'s view_token", "leave it out, and nobody may look without acting")
        if token is not None and token == view_token:
            raise ConfigError(f"the {kind.name}'s token and view_token are the same: who has it, may he act? Give two")
        self.given = token is not None
        self.token = token or secrets.token_urlsafe(32)
        self.view_token = view_token

    def may_act(self, text: str) -> bool | None:
        """Whether who has this token may act, and not look only; None: it is no token."""
        given = _bytes(text)
        acts = hmac.compare_digest(given, _bytes(self.token))
        looks = self.view_token is not None and hmac.compare_digest(given, _bytes(self.view_token))
        return acts if acts or looks else None


def _check(token: object, name: str, otherwise: str) -> None:
    if token is not None and not (isinstance(token, str) and len(token) >= TOKEN_MIN and token.isprintable()):
        raise ConfigError(f"{name} must be a text of at least {TOKEN_MIN} printable characters; {otherwise}")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
