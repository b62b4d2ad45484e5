"""What turns one virtual service into another, as a table."""

from ipaddress import ip_address

import pytest

from kubeproxy.ipvs.layout import SPARE, VirtualService, encode_mark, number_of, server_key
from kubeproxy.ipvs.service_delta import ServiceStep, step_service
from kubeproxy.rules.layout import encode_frontend
from nodeplane.datapath.ipvs.service import (
    DeleteServer,
    DeleteService,
    NewServers,
    NewService,
    RealServer,
    ServiceKey,
    ServiceOptions,
    SetServer,
    SetService,
)

VIP = ip_address("10.96.0.1").packed
TCP, UDP = (encode_frontend(VIP, protocol, 80) for protocol in ("TCP", "UDP"))
WEB, DNS = ServiceKey("ip", 6, VIP, 80), ServiceKey("ip", 17, VIP, 80)
RR, WRR, DH = (ServiceOptions(name) for name in ("rr", "wrr", "dh"))
A, B = (ip_address(text).packed + (8080).to_bytes(2, "big") for text in ("10.244.0.1", "10.244.0.2"))
KEY_A, KEY_B = server_key(A), server_key(B)


def service(options: ServiceOptions = RR, **weights: int) -> VirtualService:
    return VirtualService(options, {{"a": A, "b": B}[name]: weight for name, weight in weights.items()})


def new(server: bytes, weight: int, key: ServiceKey = WEB) -> NewServers:
    return NewServers(key, (server + weight.to_bytes(2, "big"),))


BOTH = service(a=1, b=1)


@pytest.mark.parametrize(
    ("key", "held", "wanted", "expected"),
    [
        pytest.param(TCP, None, None, ServiceStep((), None, is_wanted=False), id="nothing"),
        pytest.param(
            TCP,
            None,
            service(a=3, b=SPARE),
            ServiceStep((NewService(WEB, RR), new(A, 3)), service(a=3)),
            id="new: without those that only serve what they have",
        ),
        pytest.param(TCP, None, service(), ServiceStep((NewService(WEB, RR),), service()), id="empty"),
        pytest.param(TCP, BOTH, BOTH, ServiceStep((), BOTH), id="the same"),
        pytest.param(
            TCP,
            BOTH,
            service(a=1),
            ServiceStep((SetServer(WEB, KEY_B, RealServer(0)),), service(a=1, b=0), frozenset([B])),
            id="TCP: one drains",
        ),
        pytest.param(
            TCP,
            service(a=1, b=0),
            service(a=1),
            ServiceStep((), service(a=1, b=0), frozenset([B])),
            id="TCP: it drains already",
        ),
        pytest.param(
            TCP,
            service(a=1, b=0),
            BOTH,
            ServiceStep((SetServer(WEB, KEY_B, RealServer(1)),), BOTH),
            id="TCP: it is back",
        ),
        pytest.param(
            TCP,
            BOTH,
            service(a=1, b=SPARE),
            ServiceStep((SetServer(WEB, KEY_B, RealServer(0)),), service(a=1, b=0), kept=frozenset([B])),
            id="one that terminates and serves may take its time",
        ),
        pytest.param(
            UDP,
            BOTH,
            service(a=1),
            ServiceStep((DeleteServer(DNS, KEY_B),), service(a=1)),
            id="UDP: at once",
        ),
        pytest.param(
            UDP,
            BOTH,
            service(a=1, b=SPARE),
            ServiceStep((SetServer(DNS, KEY_B, RealServer(0)),), service(a=1, b=0), kept=frozenset([B])),
            id="UDP: one that serves keeps what it has",
        ),
        pytest.param(
            TCP,
            service(DH, a=1, b=1),
            service(DH, a=1),
            ServiceStep((DeleteServer(WEB, KEY_B),), service(DH, a=1)),
            id="dh: at once, it would refuse",
        ),
        pytest.param(
            TCP,
            BOTH,
            service(WRR, a=1, b=2),
            ServiceStep((SetService(WEB, WRR), SetServer(WEB, KEY_B, RealServer(2))), service(WRR, a=1, b=2)),
            id="other options, another weight",
        ),
        pytest.param(TCP, service(a=1), BOTH, ServiceStep((new(B, 1),), BOTH), id="one more"),
        pytest.param(
            TCP,
            BOTH,
            None,
            ServiceStep(
                (SetServer(WEB, KEY_A, RealServer(0)), SetServer(WEB, KEY_B, RealServer(0))),
                service(a=0, b=0),
                frozenset([A, B]),
                is_wanted=False,
            ),
            id="TCP: a service drains",
        ),
        pytest.param(
            UDP, BOTH, None, ServiceStep((DeleteService(DNS),), None, is_wanted=False), id="UDP: it goes"
        ),
        pytest.param(
            TCP,
            service(),
            None,
            ServiceStep((DeleteService(WEB),), None, is_wanted=False),
            id="empty, goes",
        ),
        pytest.param(
            encode_mark(number_of(4, "UDP")),
            BOTH,
            None,
            ServiceStep((DeleteService(ServiceKey("ip", mark=0x6E40000B)),), None, is_wanted=False),
            id="a mark of UDP",
        ),
    ],
)
def test_step(
    key: bytes, held: VirtualService | None, wanted: VirtualService | None, expected: ServiceStep
) -> None:
    assert step_service("ip", key, held, wanted) == expected


def test_many_servers_are_sent_in_parts() -> None:
    servers = {ip_address(0x0AF40000 + number).packed + b"\0\x50": 1 for number in range(2500)}
    step = step_service("ip", TCP, None, VirtualService(RR, servers))

    assert [len(each.servers) for each in step.changes if isinstance(each, NewServers)] == [1000, 1000, 500]
