"""From whom a node's bird has learned each route, out of what bird says of them.

The next hop of a route is not always who told of it: a reflector leaves it as it is, and of several equal
paths the kernel has one route.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network

from cni.bgp.control import Reply
from cni.bgp.state import Session
from ipam.model import Address, Network

COMMAND = "show route where source = RTS_BGP"

_ROUTE = 1007
# A network, on the line of its first route only; then the protocol that brought it.
_HEAD = re.compile(r"(?P<network>[0-9a-fA-F.:]+/\d+)?\s+\w+ \[(?P<protocol>\S+) ")
_VIA = re.compile(r"\s+via (?P<gateway>[0-9a-fA-F.:]+)")

Way = tuple[Network, Address]
"""A destination, and one of its next hops."""


def parse_learned(reply: Reply) -> Mapping[Way, frozenset[str]]:
    """Return the protocols that each way was learned by; nothing if bird refused to say."""
    found: defaultdict[Way, set[str]] = defaultdict(set)
    network: Network | None = None
    protocol = ""
    for code, text in reply.lines:
        if code != _ROUTE:
            continue
        if head := _HEAD.match(text):
            network = ip_network(head["network"]) if head["network"] else network
            protocol = head["protocol"]
        elif (via := _VIA.match(text)) and network is not None:
            found[network, ip_address(via["gateway"])].add(protocol)
    return {way: frozenset(protocols) for way, protocols in found.items()}


def name_states(
    learned: Mapping[Way, frozenset[str]], sessions: Iterable[Session]
) -> dict[Way, frozenset[str]]:
    """Return the states of the sessions that each way was learned by."""
    states = {session.protocol: session.state for session in sessions}
    return {
        way: frozenset(states[protocol] for protocol in protocols if protocol in states)
        for way, protocols in learned.items()
    }
