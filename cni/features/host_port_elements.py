"""Claims to the elements of our table. Pure."""

from collections.abc import Iterable

from cni.features.host_port import PROTOCOLS, Claim, Place, find_places
from cni.features.host_port_rules import at_address, at_any, pods_of
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.table import Elements


def build_elements(claims: Iterable[Claim], only: Place | None = None) -> dict[str, dict[bytes, bytes]]:
    """Build what the table must hold for claims, or for one place of theirs."""
    elements: dict[str, dict[bytes, bytes]] = {}
    for claim in claims:
        for place in find_places(claim):
            if only in (None, place):
                for name, key, data in _place_elements(place):
                    elements.setdefault(name, {})[key] = data
    return elements


def subtract(elements: Elements, kept: Elements) -> Elements:
    """Return the elements whose keys are not in `kept`, and those with other data there."""
    return {
        name: {
            key: data
            for key, data in part.items()
            if key not in kept.get(name, {}) or kept[name][key] != data
        }
        for name, part in elements.items()
    }


def _place_elements(place: Place) -> tuple[tuple[str, bytes, bytes], ...]:
    family: Family = "ip" if place.version == 4 else "ip6"
    pod = place.pod.packed
    port = bytes((PROTOCOLS[place.protocol], 0, 0, 0)) + _encode_port(place.port)
    target = pod + _encode_port(place.pod_port)
    served = (
        (at_any(family), port, target)
        if place.address is None
        else (at_address(family), place.address.packed + port, target)
    )
    return served, (pods_of(family), pod + pod, b"")


def _encode_port(port: int) -> bytes:
    """Encode a port as a field of several, each padded to four bytes."""
    return port.to_bytes(2, "big") + b"\0\0"
