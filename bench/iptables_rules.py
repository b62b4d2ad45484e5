"""kube-proxy's iptables layout: a rule for each service, a chain for it, a chain for each endpoint."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256

import msgspec


class Published(msgspec.Struct, frozen=True):
    """A TCP service port and its endpoints."""

    name: str
    address: str
    port: int
    endpoints: Sequence[str]
    target_port: int


def render(services: Iterable[Published], cluster_cidr: str) -> Iterator[str]:
    """Yield the lines for `iptables-restore`; the order of services is that of their rules."""
    yield "*nat"
    for chain in ("KUBE-SERVICES", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"):
        yield f":{chain} - [0:0]"
    yield '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES'
    yield '-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES'
    yield '-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING'
    yield "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN"
    yield "-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000"
    yield "-A KUBE-POSTROUTING -j MASQUERADE --random-fully"
    yield "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000"
    for service in services:
        yield from _render_service(service, cluster_cidr)
    yield "COMMIT"


def _render_service(service: Published, cluster_cidr: str) -> Iterator[str]:
    chain = _chain("KUBE-SVC", service.name)
    comment = f'-m comment --comment "{service.name} cluster IP"'
    match = f"-d {service.address}/32 -p tcp -m tcp --dport {service.port}"
    yield f":{chain} - [0:0]"
    yield f"-A KUBE-SERVICES {match} {comment} -j {chain}"
    yield f"-A {chain} ! -s {cluster_cidr} {match} {comment} -j KUBE-MARK-MASQ"
    for index, endpoint in enumerate(service.endpoints):
        target = _chain("KUBE-SEP", f"{service.name}{endpoint}")
        left = len(service.endpoints) - index
        chance = f"-m statistic --mode random --probability {1 / left:.11f} " if left > 1 else ""
        name = f'-m comment --comment "{service.name}"'
        yield f":{target} - [0:0]"
        yield f'-A {chain} -m comment --comment "{service.name} -> {endpoint}" {chance}-j {target}'
        yield f"-A {target} -s {endpoint}/32 {name} -j KUBE-MARK-MASQ"
        to = f"{endpoint}:{service.target_port}"
        yield f"-A {target} -p tcp {name} -m tcp -j DNAT --to-destination {to}"


def _chain(kind: str, name: str) -> str:
    return f"{kind}-{sha256(name.encode()).hexdigest()[:16].upper()}"
