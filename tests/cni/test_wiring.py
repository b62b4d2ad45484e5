"""The plan of a pod's links, and the result that follows from it."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from cni.attachment import Attachment
from cni.wiring import GATEWAY, Plan, Side, build_gateway_route, build_plan, build_result
from nodeplane.cniresult import render_result
from nodeplane.datapath.rtnl import Route

NETNS = Path("/run/netns/pod")
WEB = Attachment("c1", "eth0", NETNS, "default", "web-0")
ADDRESS = IPv4Address("10.244.0.5")
HOST = WEB.host_link
GATEWAY_NETWORK = IPv4Network("169.254.1.1/32")

PLAN = Plan(
    netns=NETNS,
    mtu_bytes=1450,
    alias="c1/eth0 default/web-0",
    host=Side(
        link=HOST,
        sysctls=(
            (f"net.ipv4.conf.{HOST}.forwarding", 1),
            (f"net.ipv4.conf.{HOST}.proxy_arp", 1),
            (f"net.ipv4.neigh.{HOST}.proxy_delay", 0),
            (f"net.ipv4.conf.{HOST}.rp_filter", 1),
        ),
        routes=(
            Route(GATEWAY_NETWORK, link="lo", kind="local", scope="host", protocol=110),
            Route(IPv4Network("10.244.0.5/32"), link=HOST, scope="link", protocol=110),
        ),
    ),
    pod=Side(
        link="eth0",
        addresses=(IPv4Interface("10.244.0.5/32"),),
        routes=(
            Route(GATEWAY_NETWORK, link="eth0", scope="link", protocol=110),
            Route(IPv4Network("0.0.0.0/0"), gateway=GATEWAY, link="eth0", protocol=110),
        ),
    ),
)


def test_build_plan() -> None:
    assert build_plan(WEB, NETNS, ADDRESS, mtu_bytes=1450, is_arp_strict=False) == PLAN


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
    ("version", "expected"),
    [
        pytest.param(
            "1.1.0",
            b'{"cniVersion":"1.1.0",'
            b'"interfaces":[{"name":"nplb975426852f","mac":"02:00:00:00:00:01","mtu":1450},'
            b'{"name":"eth0","mac":"02:00:00:00:00:02","mtu":1450,"sandbox":"/run/netns/pod"}],'
            b'"ips":[{"address":"10.244.0.5/32","gateway":"169.254.1.1","interface":1}],'
            b'"routes":[{"dst":"169.254.1.1/32","scope":253},{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}',
            id="1.1.0",
        ),
        pytest.param(
            "0.4.0",
            b'{"cniVersion":"0.4.0",'
            b'"interfaces":[{"name":"nplb975426852f","mac":"02:00:00:00:00:01"},'
            b'{"name":"eth0","mac":"02:00:00:00:00:02","sandbox":"/run/netns/pod"}],'
            b'"ips":[{"address":"10.244.0.5/32","gateway":"169.254.1.1","interface":1,"version":"4"}],'
            b'"routes":[{"dst":"169.254.1.1/32"},{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}',
            id="0.4.0",
        ),
    ],
)
def test_result(version: str, expected: bytes) -> None:
    result = build_result(PLAN, "02:00:00:00:00:01", "02:00:00:00:00:02")

    assert render_result(result, version) == expected
