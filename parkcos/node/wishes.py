"""What a client wishes of its node beside servers: pulses, patience, what is printed there, and that it may return."""

from __future__ import annotations

from collections.abc import Mapping

from parkcos.cluster import messages as m
from parkcos.cluster.postbox import Postbox
from parkcos.net.network import Network
from parkcos.node.nursery import Nursery
from parkcos.node.output import Forwarding
from parkcos.node.pulses import Pulses

CLIENT_PULSES = 5
"""A client may be silent for so many of its pulse intervals."""


class Wishes:
    """Of the client that is served now.  I/O thread.  nurseries: the client's."""

    def __init__(self, network: Network, box: Postbox, pulses: Pulses, nurseries: Mapping[int, Nursery]) -> None:
        self._hub = network.hub
        self._box = box
        self._pulses = pulses
        self._nurseries = nurseries
        self.silence_s = (0.0, 0.0)
        """How long the client may be silent, and after how much silence it wants a sign of life; for its servers."""
        self.forward_output = False

    def take(self, process: int, message: m.SetupNode | m.ReturnToNode) -> None:
        """The client, in that process, sets this node up, or takes it over."""
        self._pulses.serve(message.client, process, message.pulse_s)
        self.silence_s = CLIENT_PULSES * message.pulse_s, message.alive_s
        if (peer := self._hub.by_incarnation.get(process)) is not None:
            peer.patience_s = self.silence_s[0]
            if message.alive_s:
                self._hub.keep_alive.pulse_for(peer, message.alive_s)
        self.forward_output = message.forward_output
        self._send_output(message.client, process)

    def ask_for_output(self, client: int, process: int) -> None:
        """It wants what is printed from now on, too."""
        self.forward_output = True
        self._send_output(client, process)

    def _send_output(self, client: int, process: int) -> None:
        for nursery in self._nurseries.values() if self.forward_output else ():
            nursery.printed.send_to(Forwarding(self._box, client, process))


def may_return(process: int, message: m.SetupNode, most_s: float) -> tuple[int, float]:
    """The number of the client's program, and how long its servers are to go on without it; 0: not at all.

    most_s: at most so long.
    """
    claim = message.claim
    if claim is None or not claim.holds(message.client, process):
        return 0, 0.0
    return claim.run, min(message.orphan_s, most_s)
