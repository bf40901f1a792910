"""Who may look: the token, and the cookie that stands for it.  No comparison tells by its time how much is right."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from parkcos.errors import ConfigError
from parkcos.web.kind import PLAIN, Kind

TOKEN_MIN = 8
"""Characters of a token that is given."""


class Tokens:
    """The token of one site.

    Args:
        token: None: a new one.
        port: makes the cookie's name; browsers send the cookies of a host to all its ports.
        kind: of the site.

    Raises: ConfigError.
    """

    def __init__(self, token: str | None, port: int, kind: Kind = PLAIN) -> None:
        if token is not None and not (isinstance(token, str) and len(token) >= TOKEN_MIN and token.isprintable()):
            raise ConfigError(
                f"the {kind.name}'s token must be a text of at least {TOKEN_MIN} printable characters; "
                "leave it out, and one is made and written to the log"
            )
        self.given = token is not None
        self.token = token or secrets.token_urlsafe(32)
        self.cookie_name = f"parkcos_{port}"
        self.cookie = hmac.new(_bytes(self.token), b"parkcos cookie", hashlib.sha256).hexdigest()

    def is_token(self, text: str) -> bool:
        """Whether it is the token."""
        return hmac.compare_digest(_bytes(text), _bytes(self.token))

    def is_cookie(self, text: str) -> bool:
        """Whether it is the cookie's value."""
        return hmac.compare_digest(_bytes(text), _bytes(self.cookie))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
