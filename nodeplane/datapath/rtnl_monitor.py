"""`rtnl.monitor` by the name that its users know."""

from nodeplane.datapath.rtnl.monitor import (
    AddressEvent,
    Event,
    ForwardingEvent,
    LinkEvent,
    LinkState,
    NeighbourEvent,
    Overrun,
    RouteEvent,
    RtnlMonitor,
    decode_events,
)

__all__ = [
    "AddressEvent",
    "Event",
    "ForwardingEvent",
    "LinkEvent",
    "LinkState",
    "NeighbourEvent",
    "Overrun",
    "RouteEvent",
    "RtnlMonitor",
    "decode_events",
]
