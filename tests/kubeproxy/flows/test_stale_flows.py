"""Which flows are stale, and how they are asked for."""

from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from kubeproxy.desired.element_store import ElementKey
from kubeproxy.desired.endpoints import Usable
from kubeproxy.desired.service_port import PortName, Publication, ServicePort
from kubeproxy.flows.reach import Reach, build_reach
from kubeproxy.flows.stale_flows import Change, Verdict, build_filters, frontend_of, join_filters, judge
from kubeproxy.rules.layout import FRONTENDS, NODE_PORTS, encode_endpoint, encode_frontend, encode_node_port
from kubeproxy.rules.pool_value import Kind
from nodeplane.datapath.conntrack.flow import TCP, UDP, Flow, FlowFilter

VIP, NODE = ip_address("10.96.0.10").packed, ip_address("192.0.2.1").packed
VIP6 = ip_address("fd96::10").packed


def pod(number: int) -> bytes:
    return ip_address(f"10.244.0.{number}").packed


def end(number: int) -> bytes:
    return encode_endpoint(pod(number), 5353)


A, B, C, D = (end(number) for number in range(1, 5))
DNS: ElementKey = (FRONTENDS, encode_frontend(VIP, "UDP", 53))
DNS_TCP: ElementKey = (FRONTENDS, encode_frontend(VIP, "TCP", 53))
PORT: ElementKey = (NODE_PORTS, encode_node_port("UDP", 30053))


def reach(*inside: bytes, outside: tuple[bytes, ...] | None = None, idle: tuple[bytes, ...] = ()) -> Reach:
    return Reach(
        frozenset(inside),
        frozenset(inside if outside is None else outside),
        frozenset((*inside, *(outside or ()), *idle)),
    )


def flow(to: bytes | None, frontend: ElementKey = DNS) -> Flow:
    protocol = frontend[1][-8]
    destination, port = (VIP, 53) if frontend[0] == FRONTENDS else (NODE, 30053)
    reply = (destination, port) if to is None else (to[:4], int.from_bytes(to[4:6], "big"))
    return Flow(protocol, pod(99), 1000, destination, port, *reply)


def of_port(usable: Usable, kind: Kind, *, is_internal_local: bool = False) -> Reach:
    name = PortName("default", "dns", "", "UDP")
    publications = (Publication("frontends", DNS[1], kind),)
    return build_reach(ServicePort(name, publications, usable, is_internal_local), DNS)


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        pytest.param(
            of_port(Usable((A, B), (A,)), Kind.CLUSTER_IP), reach(A, B), id="cluster IP, for all alike"
        ),
        pytest.param(
            of_port(Usable((A, B), (A,)), Kind.CLUSTER_IP, is_internal_local=True),
            Reach(frozenset({A}), frozenset({A}), frozenset({A, B})),
            id="internal policy Local",
        ),
        pytest.param(of_port(Usable((A, B), (A,)), Kind.EXTERNAL), reach(A, B), id="external"),
        pytest.param(
            of_port(Usable((A, B), (A,)), Kind.EXTERNAL_LOCAL), reach(A, B, outside=(A,)), id="policy Local"
        ),
        pytest.param(
            of_port(Usable((A,), ()), Kind.RESTRICTED_LOCAL),
            replace(reach(A, outside=()), sources=()),
            id="Local, none here, and nobody let in",
        ),
        pytest.param(
            of_port(Usable((A,), (A,), spare=(B,), idle=(C,)), Kind.EXTERNAL),
            reach(A, B, idle=(C,)),
            id="hinted elsewhere, and unready",
        ),
        pytest.param(of_port(Usable((), ()), Kind.CLUSTER_IP), reach(), id="refused"),
    ],
)
def test_reach(built: Reach, expected: Reach) -> None:
    """A frontend leads where the rules lead, and keeps what hints and weights only turn others away from."""
    assert built == expected


@pytest.mark.parametrize(
    ("to", "change", "expected"),
    [
        pytest.param(A, (reach(A, B), reach(A, C)), Verdict.KEEP, id="still serves"),
        pytest.param(B, (reach(A, B), reach(A, C)), Verdict.STALE, id="removed"),
        pytest.param(B, (reach(A, B), reach(A, idle=(B,))), Verdict.STALE, id="terminates, not used"),
        pytest.param(B, (reach(B), reach(B)), Verdict.KEEP, id="draining, the last one"),
        pytest.param(A, (reach(A), reach()), Verdict.STALE, id="scale to zero"),
        pytest.param(A, (reach(A), None), Verdict.STALE, id="frontend gone"),
        pytest.param(D, (reach(A), None), Verdict.STALE, id="frontend gone, endpoint lost before"),
        pytest.param(None, (reach(A), None), Verdict.KEEP, id="frontend gone, not translated"),
        pytest.param(None, (None, reach(A)), Verdict.STALE, id="older than its frontend"),
        pytest.param(None, (None, reach()), Verdict.STALE, id="older than its frontend, which refuses"),
        pytest.param(D, (None, reach(A)), Verdict.STALE, id="unknown endpoint after a restart"),
        pytest.param(A, (None, reach(A)), Verdict.KEEP, id="known endpoint after a restart"),
        pytest.param(
            B, (reach(A, B), reach(A, B, outside=(A,))), Verdict.STALE_FROM_OUTSIDE, id="flip to Local"
        ),
        pytest.param(A, (reach(A, B), reach(A, B, outside=(A,))), Verdict.KEEP, id="flip to Local, here"),
        pytest.param(None, (None, None), Verdict.KEEP, id="nobody's"),
    ],
)
def test_udp(to: bytes | None, change: Change, expected: Verdict) -> None:
    """A UDP flow stays if its frontend may lead a new one to the same endpoint."""
    assert judge(flow(to), DNS, change) is expected


def test_endpoint_at_the_frontend_itself() -> None:
    """A flow that is not translated is right where the endpoint has the frontend's address and port."""
    here = reach(encode_endpoint(VIP, 53))

    assert judge(flow(None), DNS, (None, here)) is Verdict.KEEP


@pytest.mark.parametrize(
    ("to", "change", "expected"),
    [
        pytest.param(A, (reach(A, B), reach(A)), Verdict.STALE_AWAY_FROM_NODE, id="still serves"),
        pytest.param(B, (reach(A, B), reach(A)), Verdict.STALE, id="removed"),
        pytest.param(B, (None, reach(A, idle=(B,))), Verdict.STALE, id="terminates, after a restart"),
        pytest.param(A, (reach(A), reach()), Verdict.STALE, id="scale to zero"),
        pytest.param(A, (reach(A), None), Verdict.STALE, id="gone"),
        pytest.param(D, (reach(A), reach(B)), Verdict.KEEP, id="another's translation"),
        pytest.param(D, (reach(A), None), Verdict.KEEP, id="another's translation, gone"),
        pytest.param(D, (None, reach(A)), Verdict.KEEP, id="another's translation, new"),
        pytest.param(None, (None, reach(A)), Verdict.STALE_AT_NODE, id="older than the node port"),
        pytest.param(None, (reach(A), None), Verdict.KEEP, id="gone, not translated"),
        pytest.param(
            B, (reach(A, B), reach(A, B, outside=(A,))), Verdict.STALE_FROM_OUTSIDE, id="flip to Local"
        ),
    ],
)
def test_node_port(to: bytes | None, change: Change, expected: Verdict) -> None:
    """At a node port a flow counts if it was led to an endpoint of ours."""
    assert judge(flow(to, PORT), PORT, change) is expected


@pytest.mark.parametrize(
    ("to", "change", "expected"),
    [
        pytest.param(A, (reach(A, B), reach(A)), Verdict.KEEP, id="still serves"),
        pytest.param(B, (reach(A, B), reach(A)), Verdict.STALE, id="removed"),
        pytest.param(B, (reach(A, B), reach(A, idle=(B,))), Verdict.KEEP, id="terminates, or unready"),
        pytest.param(B, (reach(A, idle=(B,)), reach(A)), Verdict.STALE, id="has terminated"),
        pytest.param(A, (reach(A), reach()), Verdict.STALE, id="scale to zero"),
        pytest.param(A, (reach(A), None), Verdict.KEEP, id="frontend gone"),
        pytest.param(None, (None, reach(A)), Verdict.KEEP, id="older than its frontend"),
        pytest.param(D, (reach(A), reach(B)), Verdict.KEEP, id="an endpoint that was never there"),
        pytest.param(B, (reach(A, B), reach(A, B, outside=(A,))), Verdict.KEEP, id="flip to Local"),
    ],
)
def test_tcp(to: bytes | None, change: Change, expected: Verdict) -> None:
    """A TCP connection ends with its endpoint and with nothing else."""
    assert judge(flow(to, DNS_TCP), DNS_TCP, change) is expected


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        pytest.param({DNS}, DNS, id="at the address"),
        pytest.param({DNS_TCP}, (NODE_PORTS, encode_node_port("UDP", 53)), id="another protocol"),
        pytest.param(set(), (NODE_PORTS, encode_node_port("UDP", 53)), id="no frontend"),
    ],
)
def test_frontend_of(published: set[ElementKey], expected: ElementKey) -> None:
    """An address and port of a service is no node port."""
    assert frontend_of(flow(A), published) == expected


AT_DNS = FlowFilter("ip", UDP, destination=VIP, destination_port=53)
AT_PORT = FlowFilter("ip", UDP, destination_port=30053)
AT_A = FlowFilter("ip", UDP, reply_source=pod(1), reply_source_port=5353)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param({DNS: (reach(A), reach(A, B))}, {}, id="endpoint won"),
        pytest.param({DNS: (reach(), reach(A))}, {}, id="scale from zero"),
        pytest.param({DNS: (reach(A), reach(A, idle=(B,)))}, {}, id="unready one more"),
        pytest.param({DNS: (reach(A, B), reach(B))}, {UDP: {AT_DNS}}, id="endpoint lost"),
        pytest.param({DNS: (reach(A, B), reach(A, B, outside=()))}, {UDP: {AT_DNS}}, id="flip to Local"),
        pytest.param({DNS: (reach(A, B, outside=()), reach(A, B))}, {}, id="flip back"),
        pytest.param({DNS: (None, reach())}, {UDP: {AT_DNS}}, id="frontend new"),
        pytest.param({DNS: (reach(A), None)}, {UDP: {AT_DNS}}, id="frontend gone"),
        pytest.param(
            {DNS: (reach(A, B), reach(B)), PORT: (reach(A, B), reach(B))},
            {UDP: {AT_A}},
            id="one endpoint, two frontends",
        ),
        pytest.param(
            {DNS: (reach(A, B), reach()), PORT: (reach(A, B), reach())},
            {UDP: {AT_DNS, AT_PORT}},
            id="as many endpoints as frontends",
        ),
        pytest.param({DNS_TCP: (None, reach(A))}, {}, id="tcp, new"),
        pytest.param({DNS_TCP: (reach(A), None)}, {}, id="tcp, gone"),
        pytest.param({DNS_TCP: (reach(A), reach(idle=(A,)))}, {}, id="tcp, terminates"),
        pytest.param(
            {DNS_TCP: (reach(A), reach())}, {TCP: {replace(AT_DNS, protocol=TCP)}}, id="tcp, removed"
        ),
    ],
)
def test_filters(changes: dict[ElementKey, Change], expected: dict[int, set[FlowFilter]]) -> None:
    """The kernel is asked for what the changes may have made stale, and for nothing if they can't have."""
    assert build_filters("ip", changes) == expected


def test_filters_of_ipv6() -> None:
    """Addresses the kernel can't compare are left out: frontends with one port are one question."""
    gone: Change = (reach(A), None)
    changes = {
        (FRONTENDS, encode_frontend(address, "UDP", 53)): gone for address in (VIP6, bytes(15) + b"\1")
    }

    assert build_filters("ip6", changes) == {UDP: {FlowFilter("ip6", UDP, destination_port=53)}}


@pytest.mark.parametrize(
    ("filters", "entries", "is_joined"),
    [
        pytest.param(1, 0, True, id="empty table"),
        pytest.param(1, 1, False, id="one filter"),
        pytest.param(2, 1_000, True, id="two, few flows"),
        pytest.param(2, 100_000, False, id="two, many flows"),
        pytest.param(200, 100_000, True, id="many, many flows"),
    ],
)
def test_join(filters: int, entries: int, is_joined: bool) -> None:
    """Reading all of a protocol pays where its flows are fewer than what many walks cost."""
    wanted = {FlowFilter("ip", UDP, destination_port=port) for port in range(filters)}
    joined = set(join_filters("ip", {UDP: wanted}, entries))

    assert joined == ({FlowFilter("ip", UDP)} if is_joined else wanted)
