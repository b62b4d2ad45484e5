"""What tunnels are made of: pure functions of names and addresses."""

from ipaddress import ip_address, ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.routing.vxlan import (
    VxlanConfig,
    VxlanLink,
    build_entries,
    build_gateway,
    build_link,
    build_mac,
    entry_key,
)
from nodeplane.datapath.rtnl import FdbEntry, Neighbour, Vxlan

N1, N1_6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")
TUNNEL, TUNNEL_6 = ip_address("10.244.1.0"), ip_address("fd00::40")
MAC, MAC_2 = build_mac("n1"), build_mac("n2")


@given(st.text())
def test_a_mac_is_of_one_station_and_nobodys_vendor(node: str) -> None:
    """IEEE 802, section 8.2.2; and the same on every node, which nobody has to tell it."""
    mac = build_mac(node)
    assert (int(mac[:2], 16) & 0b11, len(mac), mac) == (0b10, 17, build_mac(node))


@pytest.mark.parametrize(
    ("config", "underlay", "mtu_bytes", "tunnel", "expected"),
    [
        pytest.param(
            VxlanConfig(),
            N1,
            1500,
            TUNNEL,
            VxlanLink(
                "np-vxlan4",
                Vxlan(4096, 4789, N1, fragmentation="inherit"),
                MAC,
                1450,
                ip_interface("10.244.1.0/32"),
            ),
            id="IPv4",
        ),
        pytest.param(
            VxlanConfig(vni=7, port=8472, mtu_bytes=1400),
            N1_6,
            9000,
            TUNNEL_6,
            VxlanLink(
                "np-vxlan6", Vxlan(7, 8472, N1_6, has_checksum=True), MAC, 1400, ip_interface("fd00::40/128")
            ),
            id="IPv6, as an operator wants it",
        ),
    ],
)
def test_build_link(
    config: VxlanConfig, underlay: object, mtu_bytes: int, tunnel: object, expected: VxlanLink
) -> None:
    assert build_link("n1", config, underlay, mtu_bytes, tunnel) == expected  # type: ignore[arg-type]


def test_gateways() -> None:
    """Of IPv4 the peer's address in the pool, of IPv6 a link-local one out of its MAC (RFC 4291, app. A)."""
    assert build_gateway("n2", TUNNEL) == TUNNEL
    gateway = build_gateway("n2", TUNNEL_6)
    assert gateway.is_link_local
    octets = gateway.packed[8:]
    assert octets[3:5] == b"\xff\xfe"
    assert bytes([octets[0] ^ 2, *octets[1:3], *octets[5:]]).hex(":") == MAC_2


@pytest.mark.parametrize(
    ("underlay", "tunnel", "link"),
    [pytest.param(N1, TUNNEL, "np-vxlan4", id="IPv4"), pytest.param(N1_6, TUNNEL_6, "np-vxlan6", id="IPv6")],
)
def test_entries(underlay: object, tunnel: object, link: str) -> None:
    entries = [*build_entries("n2", underlay, tunnel)]  # type: ignore[arg-type]
    gateway = build_gateway("n2", tunnel)  # type: ignore[arg-type]

    assert entries == [FdbEntry(link, MAC_2, underlay), Neighbour(link, gateway, MAC_2)]  # type: ignore[arg-type]
    assert [entry_key(entry) for entry in entries] == [(link, MAC_2), (link, gateway)]
