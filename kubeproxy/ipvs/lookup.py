"""Which real servers IPVS may lead a connection to, and how likely each is: for `trace`."""

from collections.abc import Iterable
from fractions import Fraction

from kubeproxy.ipvs.words import describe_options
from kubeproxy.trace.balanced import Balanced
from kubeproxy.trace.packet import State
from nodeplane.datapath.ipvs.remembered import RememberedClient
from nodeplane.datapath.ipvs.service import ServiceFlags, ServiceKey
from nodeplane.datapath.ipvs.table import Ipvs

_UNWEIGHTED = {"rr", "lc"}


class Lookup:
    """IPVS as it is now; each virtual service is read when it is asked for.

    By a hash or by connections a scheduler may be certain whom it takes; here each has its share.
    """

    def __init__(self, reader: Ipvs, remembered: Iterable[RememberedClient] = ()) -> None:
        self._reader = reader
        self._services = reader.services()
        self._remembered = {(each.key, each.client): each.server for each in remembered}

    def find(self, state: State) -> Balanced | None:
        """Say what IPVS makes of a packet; None if it is for no virtual service."""
        mark = ServiceKey(state.family, mark=state.mark)
        key = ServiceKey(state.family, state.protocol, state.destination, state.port)
        if state.mark and mark in self._services:
            key = mark
        elif key not in self._services:
            return None
        options = self._services[key]
        uses = self._reader.servers(key)
        weights = {server: use.server.weight for server, use in uses.items() if use.server.weight}
        timeout_s = options.timeout_s if options.flags & ServiceFlags.PERSISTENT else 0
        known = self._remembered.get((key, state.source))
        if timeout_s and known in weights:
            return Balanced(str(key), "the client has been here", {known: Fraction(1)}, timeout_s)
        if options.scheduler in _UNWEIGHTED:
            weights = dict.fromkeys(weights, 1)
        total = sum(weights.values())
        shares = {server: Fraction(weight, total) for server, weight in sorted(weights.items())}
        return Balanced(str(key), describe_options(options), shares, timeout_s)
