"""What `kubeproxy show` prints in mode ipvs: the table's frontends, and what IPVS makes of each."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address

from kubeproxy.ipvs.layout import decode_key, encode_key, encode_mark
from kubeproxy.ipvs.words import describe_options
from kubeproxy.published import Elements
from kubeproxy.rules.layout import (
    FRONTENDS,
    LOCAL_POOLS,
    NODE_PORTS,
    Frontend,
    decode_frontend,
    decode_value,
    encode_value,
)
from kubeproxy.rules.pool_value import DROP, LOCAL_KINDS, PLAIN_POOL_BITS, REJECT, WITHOUT_KIND, kind_of
from nodeplane.datapath.ipvs.remembered import RememberedClient
from nodeplane.datapath.ipvs.service import ServerKey, ServerUse, ServiceFlags, ServiceKey
from nodeplane.datapath.ipvs.table import Ipvs
from nodeplane.datapath.nft.expr import Family
from nodeplane.runtime.output import Row

_NOBODY = {REJECT: "rejected: no endpoint", DROP: "dropped: no endpoint on this node"}
_NUMBER = (1 << PLAIN_POOL_BITS) - 1


def describe_services(
    family: Family, elements: Elements, connections: Mapping[Frontend, int], reader: Ipvs
) -> Iterator[Row]:
    """Yield a row for each frontend in the table, two for policy Local: for this node, and for others."""
    balancer = _Snapshot(family, reader)
    at_node_ports: dict[bytes, list[ServiceKey]] = {}
    for name in balancer.services:
        if name.family == family and not name.mark:
            at_node_ports.setdefault(encode_key(name)[-8:], []).append(name)
    found = [
        (decode_frontend(key), key, decode_value(data), map_name)
        for map_name in (FRONTENDS, NODE_PORTS)
        for key, data in elements.get(map_name, {}).items()
    ]
    for frontend, key, value, map_name in sorted(found, key=lambda each: str(each[0])):
        # Of a node port all virtual services are alike.
        at_address = [decode_key(family, key)] if map_name == FRONTENDS else at_node_ports.get(key, [])
        kind = kind_of(value).name.lower().replace("_", "-")
        row = {"frontend": str(frontend), "kind": kind}
        count = {"connections": connections.get(frontend, 0)}
        number = value & _NUMBER
        inner = value & WITHOUT_KIND
        if kind_of(value) not in LOCAL_KINDS or inner in _NOBODY:
            yield row | {"client": "anywhere"} | _describe(inner, at_address, balancer, count)
            continue
        marked = [decode_key(family, encode_mark(number))]
        yield row | {"client": "this node"} | _describe(0, marked, balancer, count)
        local = elements.get(LOCAL_POOLS, {}).get(encode_value(inner))
        outer = DROP if local is None else decode_value(local)
        yield row | {"client": "elsewhere"} | _describe(outer, at_address, balancer, count)


def describe_clients(remembered: Iterable[RememberedClient]) -> list[Row]:
    """Return a row for each client that IPVS remembers."""
    return [
        {
            "client": str(ip_address(each.client)),
            "endpoint": str(each.server),
            "seconds": each.seconds,
            "frontends": [str(each.key)],
        }
        for each in sorted(remembered, key=lambda each: (each.key, each.client))
    ]


class _Snapshot:
    """The virtual services of a family; of those that remember clients, the kernel is asked one by one."""

    def __init__(self, family: Family, reader: Ipvs) -> None:
        self._reader = reader
        self.services = reader.services()
        self._servers = reader.all_servers(family)

    def servers(self, key: ServiceKey) -> Mapping[ServerKey, ServerUse]:
        """Return the real servers of a virtual service."""
        options = self.services.get(key)
        if options is not None and options.flags & ServiceFlags.PERSISTENT:
            return self._reader.servers(key)
        return self._servers.get(key, {})


def _describe(value: int, keys: list[ServiceKey], balancer: _Snapshot, count: Row) -> Row:
    options = next((found for key in keys if (found := balancer.services.get(key))), None)
    uses = [balancer.servers(key) for key in keys]
    servers = sorted({server for found in uses for server in found})
    nobody = _NOBODY.get(value)
    if nobody or options is None:
        nothing = {"pool": "", "choice": "", **count, "remembered": 0}
        return {**nothing, "endpoints": [nobody or "not in IPVS"], "weights": []}
    return {
        "pool": f"{keys[0].mark:#x}" if keys[0].mark else "",
        "choice": describe_options(options),
        **count,
        "remembered": sum(use.persistent for found in uses for use in found.values()),
        "endpoints": [str(server) for server in servers],
        "weights": [_describe_use(server, uses) for server in servers],
    }


def _describe_use(server: ServerKey, found: Sequence[Mapping[ServerKey, ServerUse]]) -> str:
    """Write a real server's weight, and of one that gets no new connections how many it has."""
    uses = [part[server] for part in found if server in part]
    weight = uses[0].server.weight
    return str(weight) if weight else f"0, has {sum(use.active + use.inactive for use in uses)}"
