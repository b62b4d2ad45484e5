"""Who serves a zone: the Service that leads to this program, or this machine's own addresses.

As CoreDNS has it (plugin/kubernetes/ns.go): each Service with one of our addresses among its ready endpoints
is a name server; a headless one gives its endpoints' names. Without any, it is `ns.dns.<zone>` at our
addresses. Loopback addresses are nobody else's business, so on loopback alone there is no name server.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

import msgspec

from coredns_lite.plugins.kubernetes.facts import service_name
from coredns_lite.plugins.kubernetes.index import Index
from coredns_lite.wire.names import encode_label
from nodeplane.datapath.local_addresses import LocalAddresses

NS_DNS = encode_label(b"ns") + encode_label(b"dns")
"""The name of the name server that is no Service, below the zone."""


class NameServer(msgspec.Struct, frozen=True):
    """A name server's name, relative to the zone, and one of its packed addresses."""

    name: bytes
    address: bytes


def find_name_servers(index: Index, own: Iterable[bytes], longest_bytes: int) -> list[NameServer]:
    """Return the name servers with their addresses, those of one name together.

    Names longer than `longest_bytes` would not fit below the zone.
    """
    own = sorted(own, key=_by_family)
    found = {server for address in own for server in _services_at(index, address)}
    fitting = [server for server in found if len(server.name) <= longest_bytes]
    return sorted(fitting, key=lambda server: (server.name, *_by_family(server.address))) or [
        NameServer(NS_DNS, address) for address in own
    ]


def own_addresses(server: str, local: LocalAddresses) -> tuple[bytes, ...]:
    """Return the packed addresses by which others reach a server, `dns://10.96.0.10:53` or `dns://:53`.

    Raises:
        KernelError: the machine's addresses can't be asked for.
    """
    host = server.partition("://")[2].rpartition(":")[0].strip("[]")
    wildcard = not host or ip_address(host).is_unspecified
    addresses = local.read() if wildcard else {ip_address(host)}
    return tuple(sorted((address.packed for address in addresses if _is_reachable(address)), key=_by_family))


def _by_family(address: bytes) -> tuple[int, bytes]:
    return len(address), address


def _is_reachable(address: IPv4Address | IPv6Address) -> bool:
    # An address of one link means nothing without the link.
    return not address.is_loopback and not address.is_link_local


def _services_at(index: Index, address: bytes) -> Iterator[NameServer]:
    for entry in index.at(address):
        service = entry.service
        if service is None or all(address not in piece.addresses() for piece in entry.slices):
            continue
        base = service_name(entry.namespace, entry.name)
        if not service.is_headless:
            for cluster_ip in service.addresses:
                yield NameServer(base, cluster_ip)
            continue
        for piece in entry.slices:
            for endpoint, label in piece.endpoints():
                yield NameServer(encode_label(label) + base, endpoint)
