"""When the changes of endpoints began that a sync brings to the kernel (the network programming latency SLI).

The endpoint slice controller notes on a slice when the pod or Service changed that it answers to. Only what
is newer than this process counts, as upstream has it: what was there before was not late because of us.
"""

from nodeplane.datapath.nft.expr import Family
from nodeplane.kube.objects import EndpointSlice
from nodeplane.kube.source import Batch
from nodeplane.kube.trigger_time import trigger_time

_FAMILY: dict[str, Family] = {"IPv4": "ip", "IPv6": "ip6"}


def trigger_times(batch: Batch, since_s: float) -> list[tuple[Family, float]]:
    """Return the family and time, in seconds since 1970, of each change in a batch after `since_s`."""
    times = []
    for change in batch:
        piece, before = change.new, change.old
        if not isinstance(piece, EndpointSlice):
            continue
        if isinstance(before, EndpointSlice) and _says(piece) == _says(before):
            continue
        family = _FAMILY.get(piece.address_type)
        time_s = trigger_time(piece)
        if family is not None and time_s is not None and time_s > since_s:
            times.append((family, time_s))
    return times


def _says(piece: EndpointSlice) -> tuple[object, ...]:
    """Return what a sync is about; a label is not."""
    return piece.service_name, piece.endpoints, piece.ports
