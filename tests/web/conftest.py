"""What the tests of the web share."""

from __future__ import annotations

from tests.live.conftest import stack

__all__ = ["stack"]
