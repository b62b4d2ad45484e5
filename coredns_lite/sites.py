"""Which zone serves a name on one listener, and whether its queries are logged."""

from collections.abc import Mapping

from coredns_lite.config import Kubernetes, Listener, Origin, Site, is_inside
from coredns_lite.name_index import NameIndex
from coredns_lite.names import encode_name
from coredns_lite.responder import Handler
from coredns_lite.zone import Zone, ZoneTable

ClusterKey = tuple[Origin, int]
"""What tells one NameIndex from another: where the objects come from, and the TTL in seconds."""


def cluster_key(kubernetes: Kubernetes) -> ClusterKey:
    """Say which index a plugin's zones are served from; plugins of the same input share one."""
    return kubernetes.origin, kubernetes.ttl_s


def build_zones(listener: Listener, indexes: Mapping[ClusterKey, NameIndex]) -> ZoneTable[Handler | None]:
    """Build the table that answers a listener's queries.

    A site is in it as None, nothing served, below which the zones of its own plugin are found: so a name is
    never answered from a plugin of another site than its own.
    """
    zones: dict[bytes, Handler | None] = {encode_name(site.zone): None for site in listener.sites}
    for site in listener.sites:
        kubernetes = site.plugins.kubernetes
        for text in kubernetes.zones if kubernetes else ():
            if _site_of(text, listener) is site and kubernetes:
                origin = encode_name(text)
                zones[origin] = Zone(origin, indexes[cluster_key(kubernetes)])
    return ZoneTable(zones)


def build_logged(listener: Listener) -> ZoneTable[bool]:
    """Build the table that says of a name whether its site has the plugin `log`."""
    return ZoneTable({encode_name(site.zone): site.plugins.log for site in listener.sites})


def _site_of(zone: str, listener: Listener) -> Site | None:
    holders = [site for site in listener.sites if is_inside(zone, site.zone)]
    return max(holders, key=lambda site: len(site.zone), default=None)
