"""What `trace` and `show` make of IPVS."""

from fractions import Fraction
from ipaddress import ip_address

import pytest

from kubeproxy.ipvs.lookup import Lookup
from kubeproxy.trace.packet import State
from nodeplane.datapath.ipvs.fake import FakeIpvs
from nodeplane.datapath.ipvs.remembered import RememberedClient, decode_remembered
from nodeplane.datapath.ipvs.service import (
    NewServer,
    NewService,
    RealServer,
    ServerKey,
    ServiceFlags,
    ServiceKey,
    ServiceOptions,
)

CLIENT, VIP = ip_address("203.0.113.2").packed, ip_address("10.96.0.1").packed
WEB, MARKED = ServiceKey("ip", 6, VIP, 80), ServiceKey("ip", mark=0x6E400002)
A, B = (ServerKey(ip_address(text).packed, 8080) for text in ("10.244.0.1", "10.244.0.2"))
STICKY = ServiceOptions("rr", ServiceFlags.PERSISTENT, 600)

# As kernel 6.1 lists them: a connection, a template, one of a mark, one of IPv6.
CONNECTIONS = """\
Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP CB007102 D431 0A600001 0050 0AF40001 1F90 ESTABLISHED     899
TCP CB007102 0000 0A600001 0050 0AF40001 1F90 NONE            599
IP  CB007102 0000 6E400002 0000 0AF40002 1F90 NONE             12
UDP [2001:db8::2] 0000 [fd00:96::1] 0035 [fd00:244::2] 1F75 NONE            7
"""


def test_remembered_clients() -> None:
    dns = ServiceKey("ip6", 17, ip_address("fd00:96::1").packed, 53)

    assert list(decode_remembered(CONNECTIONS)) == [
        RememberedClient(WEB, CLIENT, A, 599),
        RememberedClient(MARKED, CLIENT, B, 12),
        RememberedClient(
            dns, ip_address("2001:db8::2").packed, ServerKey(ip_address("fd00:244::2").packed, 8053), 7
        ),
    ]


def state(mark: int = 0, port: int = 80) -> State:
    return State(protocol=6, source=CLIENT, source_port=None, destination=VIP, port=port, mark=mark)


@pytest.mark.parametrize(
    ("options", "weights", "remembered", "shares"),
    [
        pytest.param(ServiceOptions("rr"), (3, 1), (), {A: Fraction(1, 2), B: Fraction(1, 2)}, id="rr"),
        pytest.param(ServiceOptions("wrr"), (3, 1), (), {A: Fraction(3, 4), B: Fraction(1, 4)}, id="wrr"),
        pytest.param(ServiceOptions("rr"), (0, 1), (), {B: Fraction(1)}, id="one drains"),
        pytest.param(ServiceOptions("rr"), (0, 0), (), {}, id="all drain"),
        pytest.param(STICKY, (1, 1), (B,), {B: Fraction(1)}, id="the client has been here"),
        pytest.param(STICKY, (1, 0), (B,), {A: Fraction(1)}, id="where it was is draining"),
    ],
)
def test_shares(
    options: ServiceOptions,
    weights: tuple[int, int],
    remembered: tuple[ServerKey, ...],
    shares: dict[ServerKey, Fraction],
) -> None:
    ipvs = FakeIpvs()
    ipvs.apply(
        [
            NewService(WEB, options),
            *(
                NewServer(WEB, server, RealServer(weight))
                for server, weight in zip((A, B), weights, strict=True)
            ),
        ]
    )
    found = Lookup(ipvs, [RememberedClient(WEB, CLIENT, server, 5) for server in remembered]).find(state())

    assert found is not None
    assert found.shares == shares


def test_a_mark_comes_first() -> None:
    ipvs = FakeIpvs()
    for key in (WEB, MARKED):
        ipvs.apply([NewService(key, ServiceOptions("rr"))])
    lookup = Lookup(ipvs)
    found = [lookup.find(each) for each in (state(), state(MARKED.mark), state(7), state(port=81))]

    assert [each.service if each else None for each in found] == [str(WEB), str(MARKED), str(WEB), None]
