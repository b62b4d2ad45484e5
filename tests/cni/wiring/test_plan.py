"""The plan of a pod's links, and the result that follows from it."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from cni.attachment import Attachment
from cni.wiring.plan import GATEWAY, Plan, Side, build_gateway_route, build_plan, build_result, link_local
from nodeplane import cniresult
from nodeplane.cniresult import render_result
from nodeplane.datapath.rtnl import Address, Route

NETNS = Path("/run/netns/pod")
WEB = Attachment("c1", "eth0", NETNS, "default", "web-0", "net")
ADDRESS, ADDRESS_6 = IPv4Address("10.244.0.5"), IPv6Address("2001:db8::5")
HOST = WEB.host_link
GATEWAY_NETWORK = IPv4Network("169.254.1.1/32")
GATEWAY_6 = IPv6Address("fe80::ecee:eeff:feee:eeee")
EVERYWHERE, EVERYWHERE_6 = IPv4Network("0.0.0.0/0"), IPv6Network("::/0")
HOST_MAC, POD_MAC = "ee:ee:ee:ee:ee:ee", "02:00:00:00:00:02"

SYSCTLS_4 = (
    (f"net.ipv4.conf.{HOST}.forwarding", 1),
    (f"net.ipv4.conf.{HOST}.proxy_arp", 1),
    (f"net.ipv4.neigh.{HOST}.proxy_delay", 0),
    (f"net.ipv4.conf.{HOST}.rp_filter", 1),
)
SYSCTLS_6 = (
    (f"net.ipv6.conf.{HOST}.disable_ipv6", 0),
    (f"net.ipv6.conf.{HOST}.accept_dad", 0),
    (f"net.ipv6.conf.{HOST}.accept_ra", 0),
    (f"net.ipv6.conf.{HOST}.forwarding", 1),
    (f"net.ipv6.conf.{HOST}.proxy_ndp", 1),
    (f"net.ipv6.neigh.{HOST}.proxy_delay", 0),
)
POD_SYSCTLS_6 = (
    ("net/ipv6/conf/lo/disable_ipv6", 0),
    ("net/ipv6/conf/eth0/disable_ipv6", 0),
    ("net/ipv6/conf/eth0/accept_dad", 0),
    ("net/ipv6/conf/eth0/accept_ra", 0),
)
HOST_ROUTES_4 = (
    Route(GATEWAY_NETWORK, link="lo", kind="local", scope="host", protocol=110),
    Route(IPv4Network("10.244.0.5/32"), link=HOST, scope="link", protocol=110),
)
POD_LINK_ROUTE = Route(GATEWAY_NETWORK, link="eth0", scope="link", protocol=110)
POD_DEFAULT = Route(EVERYWHERE, gateway=GATEWAY, link="eth0", protocol=110)
POD_LINK_ROUTE_6 = Route(IPv6Network(GATEWAY_6), link="eth0")
POD_DEFAULT_6 = Route(EVERYWHERE_6, gateway=GATEWAY_6, link="eth0")


def plan(*addresses: Address, **fields: Any) -> Plan:
    given = {"mtu_bytes": 1450, "is_arp_strict": False, "host_mac": HOST_MAC, "pod_mac": POD_MAC}
    return build_plan(WEB, NETNS, addresses, **{**given, **fields})


def expected(host: Side, pod: Side) -> Plan:
    return Plan(netns=NETNS, mtu_bytes=1450, alias="c1/eth0 net default/web-0", host=host, pod=pod)


@pytest.mark.parametrize(
    ("addresses", "plan_of_them"),
    [
        pytest.param((), expected(Side(HOST, HOST_MAC), Side("eth0", POD_MAC)), id="the bare links"),
        pytest.param(
            (ADDRESS,),
            expected(
                Side(HOST, HOST_MAC, SYSCTLS_4, (), HOST_ROUTES_4),
                Side("eth0", POD_MAC, (), (IPv4Interface("10.244.0.5/32"),), (POD_LINK_ROUTE, POD_DEFAULT)),
            ),
            id="IPv4",
        ),
        pytest.param(
            (ADDRESS_6,),
            expected(
                Side(
                    HOST,
                    HOST_MAC,
                    SYSCTLS_6,
                    (IPv6Interface(f"{GATEWAY_6}/64"),),
                    (Route(IPv6Network("2001:db8::5/128"), link=HOST),),
                ),
                Side(
                    "eth0",
                    POD_MAC,
                    POD_SYSCTLS_6,
                    (IPv6Interface("2001:db8::5/128"),),
                    (POD_LINK_ROUTE_6, POD_DEFAULT_6),
                ),
            ),
            id="IPv6",
        ),
        pytest.param(
            (ADDRESS, ADDRESS_6),
            expected(
                Side(
                    HOST,
                    HOST_MAC,
                    SYSCTLS_4 + SYSCTLS_6,
                    (IPv6Interface(f"{GATEWAY_6}/64"),),
                    (*HOST_ROUTES_4, Route(IPv6Network("2001:db8::5/128"), link=HOST)),
                ),
                Side(
                    "eth0",
                    POD_MAC,
                    POD_SYSCTLS_6,
                    (IPv4Interface("10.244.0.5/32"), IPv6Interface("2001:db8::5/128")),
                    (POD_LINK_ROUTE, POD_LINK_ROUTE_6, POD_DEFAULT, POD_DEFAULT_6),
                ),
            ),
            id="both",
        ),
    ],
)
def test_build_plan(addresses: tuple[Address, ...], plan_of_them: Plan) -> None:
    assert plan(*addresses) == plan_of_them


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        pytest.param(
            cniresult.Route(IPv4Network("192.0.2.0/24")),
            [POD_DEFAULT, Route(IPv4Network("192.0.2.0/24"), gateway=GATEWAY, link="eth0")],
            id="the node is the next hop",
        ),
        pytest.param(
            cniresult.Route(IPv4Network("192.0.2.0/24"), IPv4Address("10.22.0.1")),
            [POD_DEFAULT, Route(IPv4Network("192.0.2.0/24"), gateway=GATEWAY, link="eth0")],
            id="whatever the route says: nobody else is there",
        ),
        pytest.param(
            cniresult.Route(
                IPv4Network("192.0.2.0/24"), mtu_bytes=1400, advmss_bytes=1360, priority=7, table=100
            ),
            [
                POD_DEFAULT,
                Route(
                    IPv4Network("192.0.2.0/24"),
                    gateway=GATEWAY,
                    link="eth0",
                    metric=7,
                    table=100,
                    mtu_bytes=1400,
                    advmss_bytes=1360,
                ),
            ],
            id="all that a route may say",
        ),
        pytest.param(
            cniresult.Route(IPv4Network("192.0.2.0/24"), scope=253),
            [POD_DEFAULT, Route(IPv4Network("192.0.2.0/24"), link="eth0", scope="link")],
            id="on link",
        ),
        pytest.param(
            cniresult.Route(EVERYWHERE, mtu_bytes=1400),
            [Route(EVERYWHERE, gateway=GATEWAY, link="eth0", mtu_bytes=1400)],
            id="another default route takes ours' place",
        ),
        pytest.param(
            cniresult.Route(EVERYWHERE, table=100),
            [POD_DEFAULT, Route(EVERYWHERE, gateway=GATEWAY, link="eth0", table=100)],
            id="but not one in another table",
        ),
        pytest.param(
            cniresult.Route(IPv6Network("2001:db8:1::/64")), [POD_DEFAULT], id="not of the pod's families"
        ),
    ],
)
def test_more_routes(asked: cniresult.Route, made: list[Route]) -> None:
    assert list(plan(ADDRESS, routes=[asked]).pod.routes) == [POD_LINK_ROUTE, *made]


@pytest.mark.parametrize(("is_loose", "expected"), [(False, 1), (True, 0)])
def test_who_may_send_from_elsewhere(is_loose: bool, expected: int) -> None:
    """The kernel's own check would drop what the pod may send."""
    assert (f"net.ipv4.conf.{HOST}.rp_filter", expected) in plan(ADDRESS, is_loose=is_loose).host.sysctls


def test_macs_follow_from_the_attachment() -> None:
    """A repeated ADD finds them again, and two pods' differ."""
    first = plan(ADDRESS, host_mac="", pod_mac="")
    other = build_plan(
        Attachment("c2", "eth0", NETNS, network="net"), NETNS, (), mtu_bytes=1450, is_arp_strict=False
    )

    assert first == plan(ADDRESS, host_mac="", pod_mac="")
    macs = [first.host.mac, first.pod.mac, other.host.mac, other.pod.mac]
    assert len(set(macs)) == 4
    # Locally administered, of one interface.
    assert {int(mac[:2], 16) & 3 for mac in macs} == {2}


@pytest.mark.parametrize(
    ("mac", "address"),
    [("ee:ee:ee:ee:ee:ee", "fe80::ecee:eeff:feee:eeee"), ("02:00:00:00:00:01", "fe80::ff:fe00:1")],
)
def test_link_local(mac: str, address: str) -> None:
    assert link_local(mac) == IPv6Address(address)


@pytest.mark.parametrize(
    ("is_arp_strict", "expected"),
    [
        pytest.param(
            False, Route(GATEWAY_NETWORK, link="lo", kind="local", scope="host"), id="an address of the node"
        ),
        pytest.param(
            True, Route(GATEWAY_NETWORK, link="lo", scope="link"), id="strict ARP: a proxied address"
        ),
    ],
)
def test_gateway_route(is_arp_strict: bool, expected: Route) -> None:
    assert build_gateway_route(is_arp_strict=is_arp_strict) == expected


@pytest.mark.parametrize(
    ("version", "addresses", "expected"),
    [
        pytest.param(
            "1.1.0",
            (ADDRESS,),
            b'{"cniVersion":"1.1.0",'
            b'"interfaces":[{"name":"nplb975426852f","mac":"ee:ee:ee:ee:ee:ee","mtu":1450},'
            b'{"name":"eth0","mac":"02:00:00:00:00:02","mtu":1450,"sandbox":"/run/netns/pod"}],'
            b'"ips":[{"address":"10.244.0.5/32","gateway":"169.254.1.1","interface":1}],'
            b'"routes":[{"dst":"169.254.1.1/32","scope":253},{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}',
            id="1.1.0",
        ),
        pytest.param(
            "0.4.0",
            (ADDRESS,),
            b'{"cniVersion":"0.4.0",'
            b'"interfaces":[{"name":"nplb975426852f","mac":"ee:ee:ee:ee:ee:ee"},'
            b'{"name":"eth0","mac":"02:00:00:00:00:02","sandbox":"/run/netns/pod"}],'
            b'"ips":[{"address":"10.244.0.5/32","gateway":"169.254.1.1","interface":1,"version":"4"}],'
            b'"routes":[{"dst":"169.254.1.1/32"},{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}',
            id="0.4.0",
        ),
        pytest.param(
            "0.2.0",
            (ADDRESS, ADDRESS_6),
            b'{"cniVersion":"0.2.0",'
            b'"ip4":{"ip":"10.244.0.5/32","gateway":"169.254.1.1",'
            b'"routes":[{"dst":"169.254.1.1/32"},{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]},'
            b'"ip6":{"ip":"2001:db8::5/128","gateway":"fe80::ecee:eeff:feee:eeee",'
            b'"routes":[{"dst":"fe80::ecee:eeff:feee:eeee/128"},'
            b'{"dst":"::/0","gw":"fe80::ecee:eeff:feee:eeee"}]}}',
            id="0.2.0, both families",
        ),
    ],
)
def test_result(version: str, addresses: tuple[Address, ...], expected: bytes) -> None:
    assert render_result(build_result(plan(*addresses)), version) == expected


def test_the_result_says_all_of_a_route() -> None:
    asked = cniresult.Route(
        IPv4Network("192.0.2.0/24"), GATEWAY, mtu_bytes=1400, advmss_bytes=1360, priority=7, table=100
    )
    dns = cniresult.Dns(("10.96.0.10",))

    result = build_result(plan(ADDRESS, routes=[asked]), dns)

    assert (result.routes[-1], result.dns) == (asked, dns)
