"""Chains for tables: a Kubernetes zone alone, and a client that asks it."""

from ipaddress import IPv4Address

from coredns_lite.chain import Chain
from coredns_lite.plugin import Client, Handler, Outcome
from coredns_lite.plugins.kubernetes.index import Index
from coredns_lite.plugins.kubernetes.zone import Lead, Zone
from coredns_lite.responder import Responder
from coredns_lite.wire.names import encode_name
from coredns_lite.wire.query import Query
from coredns_lite.zones import ZoneTable

CLIENT = Client(IPv4Address("127.0.0.1"), 4000, "udp")
ZONE = encode_name("cluster.local")


class ZoneHandler:
    """A chain that is one zone."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone

    def answer(self, query: Query, _client: Client) -> Outcome:
        """Answer as the zone does."""
        found = self._zone.answer(query)
        assert not isinstance(found, Lead)
        return found


class Asked:
    """A responder of these chains that one client asks."""

    def __init__(self, handlers: dict[str, Handler], cache_bytes: int = 1 << 20) -> None:
        chains = {zone: Chain(handler, zone) for zone, handler in handlers.items()}
        self.responder = Responder(ZoneTable(chains), cache_bytes)

    def respond(self, packet: bytes) -> bytes | None:
        """Return the reply, which must be there at once."""
        reply = self.responder.respond(packet, lambda: CLIENT)
        assert reply is None or isinstance(reply, bytes)
        return reply


def cluster_local(index: Index, cache_bytes: int = 1 << 20) -> Asked:
    """Serve an index as cluster.local."""
    return Asked({"cluster.local.": ZoneHandler(Zone(ZONE, index))}, cache_bytes)
