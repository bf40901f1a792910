"""What kind of site it is: what it is called, where it is found, and how its user sets that."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of site, for what errors, refusals and the login page say.

    name: a noun: the login page asks for the "token of this dashboard".
    port: the first that is tried where none is given; 0: any free one.
    port_option, hosts_option: what a user writes to give another port, or one more name of the machine.
    token_variable: the environment variable with a token, where none is given; "": there is none.
    data: beginnings of the paths that programs ask: there, refusals are JSON.
    """

    name: str = "site"
    port: int = 0
    port_option: str = "port=9000"
    hosts_option: str = "hosts=[...]"
    token_variable: str = ""
    data: tuple[str, ...] = ("/api",)


PLAIN = Kind()
