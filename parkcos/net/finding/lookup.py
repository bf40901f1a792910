"""Looking names of hosts up while tasks run: in a thread of its own each, for a name server may take its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from parkcos.kernel import Completion
from parkcos.net.location import resolve

if TYPE_CHECKING:
    from parkcos.net.network import Network

T = TypeVar("T")


class Named(Protocol):
    """What has the name of a host, as a Location that was made in a task."""

    @property
    def is_known(self) -> bool:
        """Whether its address is known."""

    def look_up(self) -> object:
        """Ask for the address, if it is not known.  This may take seconds.  Raises: ConfigError."""


def looked_up(network: Network, host: str) -> Completion[tuple[str, ...]]:
    """The addresses of a host, as `resolve` gives them.  Yield it.  Raises: ConfigError."""

    def start(completion: Completion[tuple[str, ...]]) -> None:
        _in_thread(network, completion, lambda: resolve(host), completion.set_result)

    return Completion(network.kernel, "looked_up", start)


def known(network: Network, *named: Named, timeout_s: float | None = None) -> Completion[bool]:
    """True as soon as all of them are known, False after the time.  Yield it.  Raises: ConfigError."""

    def start(completion: Completion[bool]) -> None:
        unknown = [each for each in named if not each.is_known]
        if not unknown:
            completion.set_result(True)

        def found(one: Named) -> None:
            unknown.remove(one)
            if not unknown:
                completion.set_result(True)

        for each in unknown.copy():

            def look(one: Named = each) -> Named:
                one.look_up()
                return one

            _in_thread(network, completion, look, lambda one: network.kernel.post(found, one))

    return Completion(network.kernel, "look_up", start, timeout_s, False)


def _in_thread(
    network: Network, completion: Completion[Any], work: Callable[[], T], then: Callable[[T], object]
) -> None:
    def run() -> None:
        try:
            then(work())
        except BaseException as error:
            completion.set_exception(error)

    network.io.start_thread(run, "parkcos-lookup")
