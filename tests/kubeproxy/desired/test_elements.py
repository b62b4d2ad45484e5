"""What a port publishes, by type, policy and endpoints, as elements."""

from ipaddress import ip_network

import msgspec
import pytest

from kubeproxy.desired.elements import build_claims, split_ranges
from kubeproxy.desired.endpoints import Usable
from kubeproxy.desired.pools import PoolName
from kubeproxy.desired.service_port import FrontendMap, PortName, Publication, ServicePort
from kubeproxy.rules.addresses import pack_address
from kubeproxy.rules.layout import (
    CLUSTER_IPS,
    FRONTENDS,
    HAIRPINS,
    LOCAL_POOLS,
    SOURCE_RANGES,
    decode_ranges,
    decode_value,
    encode_frontend,
    encode_node_port,
    encode_source_range,
    encode_value,
)
from kubeproxy.rules.pool_value import DROP, REJECT, Kind, with_kind
from tests.kubeproxy.objects import at

NAME = PortName("default", "web", "http", "TCP")
VIP, LB = pack_address("10.96.0.1"), pack_address("192.0.2.1")
A, B = at("10.244.0.1"), at("10.244.0.2")
CLUSTER, LOCAL = 0x400007, 0x9
NOWHERE = Usable((), ())
ELSEWHERE = Usable((B,), ())
BOTH = Usable((A, B), (A,))


def publication(kind: Kind, map_name: FrontendMap = "frontends") -> Publication:
    if map_name == "node-ports":
        return Publication(map_name, encode_node_port("TCP", 30080), kind)
    address = VIP if kind == Kind.CLUSTER_IP else LB
    return Publication(map_name, encode_frontend(address, "TCP", 80), kind)


def frontend_value(kind: Kind, usable: Usable, *, internal_local: bool = False) -> tuple[Kind, int, bool]:
    """Return the kind and value of the only publication, and whether there is a way to local endpoints."""
    port = ServicePort(NAME, (publication(kind),), usable, is_internal_local=internal_local)
    names = {
        PoolName(NAME, is_local=False): CLUSTER if port.uses_cluster and usable.cluster else None,
        PoolName(NAME, is_local=True): LOCAL if port.uses_local and usable.local else None,
    }
    claims = build_claims(port, {name: value for name, value in names.items() if value is not None})
    value = decode_value(claims[FRONTENDS, port.publications[0].key])
    local = claims.get((LOCAL_POOLS, encode_value(CLUSTER)))
    assert local in {None, encode_value(LOCAL)}
    return Kind(value >> 28 & 7), value & 0x8FFFFFFF, local is not None


EXTERNAL_KINDS = [Kind.EXTERNAL, Kind.RESTRICTED]
LOCAL_KINDS = [(Kind.EXTERNAL_LOCAL, Kind.EXTERNAL), (Kind.RESTRICTED_LOCAL, Kind.RESTRICTED)]


@pytest.mark.parametrize(
    ("usable", "internal_local", "expected"),
    [
        pytest.param(BOTH, False, CLUSTER, id="Cluster"),
        pytest.param(ELSEWHERE, False, CLUSTER, id="Cluster, endpoints elsewhere"),
        pytest.param(NOWHERE, False, REJECT, id="Cluster, no endpoints"),
        pytest.param(BOTH, True, LOCAL, id="Local"),
        pytest.param(ELSEWHERE, True, DROP, id="Local, endpoints elsewhere: dropped"),
        pytest.param(NOWHERE, True, REJECT, id="Local, no endpoints: rejected"),
    ],
)
def test_cluster_ip(usable: Usable, internal_local: bool, expected: int) -> None:
    """A cluster IP follows internalTrafficPolicy."""
    assert frontend_value(Kind.CLUSTER_IP, usable, internal_local=internal_local) == (
        Kind.CLUSTER_IP,
        expected,
        False,
    )


@pytest.mark.parametrize("kind", EXTERNAL_KINDS)
@pytest.mark.parametrize("internal_local", [False, True])
@pytest.mark.parametrize(("usable", "expected"), [(BOTH, CLUSTER), (ELSEWHERE, CLUSTER), (NOWHERE, REJECT)])
def test_external(kind: Kind, internal_local: bool, usable: Usable, expected: int) -> None:
    """Outside, policy Cluster leads to all endpoints, whatever the internal policy is."""
    assert frontend_value(kind, usable, internal_local=internal_local) == (kind, expected, False)


@pytest.mark.parametrize(("kind", "without_local"), LOCAL_KINDS)
def test_external_local(kind: Kind, without_local: Kind) -> None:
    """Policy Local has a way to local endpoints where there are some; if nobody has any it is as Cluster."""
    assert frontend_value(kind, BOTH) == (kind, CLUSTER, True)
    assert frontend_value(kind, ELSEWHERE) == (kind, CLUSTER, False)
    assert frontend_value(kind, NOWHERE) == (without_local, REJECT, False)


def test_all_claims() -> None:
    """Cluster IPs, hairpins and ranges are published beside the frontends; node ports have no ranges."""
    networks = (ip_network("10.0.0.0/8"), ip_network("192.168.0.0/16"))
    restricted, node_port = publication(Kind.RESTRICTED), publication(Kind.EXTERNAL, "node-ports")
    port = ServicePort(
        NAME,
        (publication(Kind.CLUSTER_IP), restricted, node_port),
        BOTH,
        hairpins=frozenset({A[:4]}),
        cluster_ips=(VIP,),
        sources=networks,
    )
    joined = b"".join(encode_source_range(restricted.key, network) for network in networks)

    assert build_claims(port, {PoolName(NAME, is_local=False): CLUSTER}) == {
        (FRONTENDS, port.publications[0].key): encode_value(CLUSTER),
        (FRONTENDS, restricted.key): encode_value(with_kind(CLUSTER, Kind.RESTRICTED)),
        (SOURCE_RANGES, restricted.key): joined,
        ("node-ports", node_port.key): encode_value(with_kind(CLUSTER, Kind.EXTERNAL)),
        (CLUSTER_IPS, VIP): b"",
        (HAIRPINS, A[:4] * 2): b"",
    }
    nobody = build_claims(msgspec.structs.replace(port, sources=()), {})
    assert nobody[SOURCE_RANGES, restricted.key] == b""


@pytest.mark.parametrize(
    ("address", "networks"),
    [
        pytest.param("192.0.2.1", (), id="nobody"),
        pytest.param("192.0.2.1", ("10.0.0.0/8", "192.168.1.1/32", "0.0.0.0/1"), id="IPv4"),
        pytest.param("2001:db8::1", ("fd00::/8", "::1/128"), id="IPv6"),
    ],
)
def test_split_ranges(address: str, networks: tuple[str, ...]) -> None:
    """What was put together comes apart again."""
    frontend = encode_frontend(pack_address(address), "TCP", 443)
    parts = [encode_source_range(frontend, ip_network(text)) for text in networks]
    found = split_ranges(frontend, b"".join(parts))

    assert found == parts
    assert [decode_ranges(part, len(frontend) - 8) for part in found] == [
        (network[0], network[-1]) for network in map(ip_network, networks)
    ]
