"""What kind of site it is: what it is called, where it is found, and how its user sets that."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of site, for what errors, refusals and the login page say.

    name: a noun: the login page asks for the "token of this dashboard".
    port: the first that is tried where none is given; 0: any free one.
    port_option, hosts_option, certificate_option, insecure_option: what a user writes to give another port, one more
        name of the machine, a certificate, or to do without that.
    token_variable, view_token_variable: environment variables with the tokens, where none are given; "": there are
        none.
    data: beginnings of the paths that programs ask: there, refusals are JSON.
    """

    name: str = "site"
    port: int = 0
    port_option: str = "port=9000"
    hosts_option: str = "hosts=[...]"
    certificate_option: str = "certfile=..."
    insecure_option: str = "insecure=True"
    token_variable: str = ""
    view_token_variable: str = ""
    data: tuple[str, ...] = ("/api",)


PLAIN = Kind()
