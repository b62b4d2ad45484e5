"""CHECK: what counts as a difference, and what later plugins may do."""

from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cni.attachment import Attachment
from cni.check import Seen, Told, differences, read_told
from cni.wiring.plan import build_plan, build_result
from nodeplane.cniresult import Interface, Ip, Result, Route
from nodeplane.cnispec import CniError
from nodeplane.datapath import rtnl
from nodeplane.datapath.rtnl import Link

NETNS = Path("/run/netns/pod")
WEB = Attachment("c1", "eth0", NETNS, "default", "web-0", "net")
HOST_MAC, POD_MAC = "ee:ee:ee:ee:ee:ee", "02:00:00:00:00:02"
ADDRESSES = (ip_address("10.244.0.5"), ip_address("2001:db8::5"))
PLAN = build_plan(
    WEB, NETNS, ADDRESSES, mtu_bytes=1500, is_arp_strict=False, host_mac=HOST_MAC, pod_mac=POD_MAC
)
RESULT = build_result(PLAN)
TOLD = read_told(WEB, RESULT)
HOST = Link(
    WEB.host_link,
    7,
    "veth",
    HOST_MAC,
    1500,
    is_up=True,
    has_carrier=True,
    alias=WEB.alias,
    peer_index=2,
)
POD = Link("eth0", 2, "veth", POD_MAC, 1500, is_up=True, has_carrier=True, peer_index=7)
SEEN = Seen(
    host=HOST,
    pod=POD,
    addresses=set(PLAN.pod.addresses),
    pod_routes=PLAN.pod.routes,
    host_routes=PLAN.host.routes,
    sysctls={name: str(value) for name, value in PLAN.host.sysctls},
)


def otherwise(value: Any, **fields: Any) -> Any:
    return msgspec.structs.replace(value, **fields)


def without(items: Any, text: str) -> list[Any]:
    left = [item for item in items if str(item) != text]
    assert len(left) < len(items)
    return left


def in_table(route: rtnl.Route) -> rtnl.Route:
    return msgspec.structs.replace(route, table=100)


def told(**fields: Any) -> Told:
    return read_told(WEB, otherwise(RESULT, **fields))


DIFFERENCES: list[tuple[str, Told, Seen, list[str]]] = [
    ("as it was added", TOLD, SEEN, []),
    (
        "a later plugin added addresses and routes",
        TOLD,
        otherwise(
            SEEN,
            addresses={*PLAN.pod.addresses, ip_interface("192.0.2.1/24")},
            pod_routes=[*PLAN.pod.routes, rtnl.Route(ip_network("192.0.2.0/24"), link="eth0")],
        ),
        [],
    ),
    ("a later plugin changed the MTU", TOLD, otherwise(SEEN, pod=otherwise(POD, mtu_bytes=1300)), []),
    (
        "a later plugin changed the MAC, and said so",
        told(interfaces=(RESULT.interfaces[0], otherwise(RESULT.interfaces[1], mac="02:00:00:00:00:0A"))),
        otherwise(SEEN, pod=otherwise(POD, mac="02:00:00:00:00:0a")),
        [],
    ),
    (
        "a later plugin took the default route out, and said so",
        told(routes=RESULT.routes[:2]),
        otherwise(SEEN, pod_routes=PLAN.pod.routes[:2]),
        [],
    ),
    (
        "a later plugin moved the routes to another table (sbr)",
        TOLD,
        otherwise(SEEN, pod_routes=[in_table(route) for route in PLAN.pod.routes]),
        [],
    ),
    ("no interface", TOLD, otherwise(SEEN, pod=None), ["interface eth0 is missing in the pod"]),
    ("no host link", TOLD, otherwise(SEEN, host=None), [f"link {WEB.host_link} is missing"]),
    (
        "the interface is another",
        TOLD,
        otherwise(SEEN, pod=otherwise(POD, index=9)),
        [f"link {WEB.host_link} is not the other end of eth0"],
    ),
    (
        "the host link is a later sandbox's",
        TOLD,
        otherwise(SEEN, host=otherwise(HOST, alias="c2/eth0 net default/web-0")),
        [f"link {WEB.host_link} is not the other end of eth0"],
    ),
    (
        "both ends are down",
        TOLD,
        otherwise(SEEN, host=otherwise(HOST, is_up=False), pod=otherwise(POD, is_up=False)),
        [f"{WEB.host_link} is down", "eth0 is down"],
    ),
    (
        "the MAC changed, and nobody said so",
        TOLD,
        otherwise(SEEN, pod=otherwise(POD, mac="02:00:00:00:00:0a")),
        ["eth0 has MAC 02:00:00:00:00:0a, not 02:00:00:00:00:02"],
    ),
    (
        "the addresses are gone",
        TOLD,
        otherwise(SEEN, addresses=set()),
        ["eth0 lacks address 10.244.0.5/32", "eth0 lacks address 2001:db8::5/128"],
    ),
    (
        "a route of the pod is gone",
        TOLD,
        otherwise(SEEN, pod_routes=without(PLAN.pod.routes, "0.0.0.0/0 via 169.254.1.1 dev eth0")),
        ["the pod lacks route 0.0.0.0/0 via 169.254.1.1 dev eth0"],
    ),
    (
        "routes of the node are gone",
        TOLD,
        otherwise(SEEN, host_routes=()),
        [
            "the node lacks route local 169.254.1.1/32 dev lo",
            f"the node lacks route 10.244.0.5/32 dev {WEB.host_link}",
            f"the node lacks route 2001:db8::5/128 dev {WEB.host_link}",
        ],
    ),
    (
        "settings changed",
        TOLD,
        otherwise(SEEN, sysctls={**SEEN.sysctls, f"net.ipv4.conf.{WEB.host_link}.proxy_arp": "0"}),
        [f"net.ipv4.conf.{WEB.host_link}.proxy_arp is 0, not 1"],
    ),
]


@pytest.mark.parametrize(
    ("told_", "seen", "expected"),
    [pytest.param(told_, seen, lines, id=row) for row, told_, seen, lines in DIFFERENCES],
)
def test_differences(told_: Told, seen: Seen, expected: list[str]) -> None:
    plan = build_plan(WEB, NETNS, told_.addresses, mtu_bytes=0, is_arp_strict=False, host_mac=told_.host_mac)

    assert list(differences(WEB, plan, told_, seen)) == expected


def test_what_is_told_of_ours() -> None:
    """In a chain, of several interfaces."""
    result = Result(
        interfaces=(Interface("net1", sandbox="/n"), Interface("eth0", sandbox=""), *RESULT.interfaces),
        ips=(
            Ip(ip_interface("192.0.2.1/24"), interface=0),
            Ip(ip_interface("10.244.0.5/32"), interface=3),
            Ip(ip_interface("2001:db8::5/128")),
        ),
        routes=(Route(ip_network("0.0.0.0/0"), ip_address("169.254.1.1")),),
    )

    assert read_told(WEB, result) == Told(
        host_mac=HOST_MAC,
        pod_mac=POD_MAC,
        addresses=ADDRESSES,
        routes=frozenset({("0.0.0.0/0", "169.254.1.1")}),
    )


def test_a_result_without_our_interface() -> None:
    with pytest.raises(CniError) as caught:
        read_told(WEB, Result(interfaces=(Interface("eth0"), Interface("net1", sandbox="/n"))))
    assert (caught.value.code, caught.value.msg, caught.value.details) == (
        102,
        "the pod's network is not as it was added",
        "prevResult has no interface eth0 in a sandbox",
    )
