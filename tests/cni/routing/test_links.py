"""This node's links: what is read of them, and a VXLAN link brought to what is wanted, on the strict fake."""

from ipaddress import ip_address, ip_interface, ip_network

import msgspec
import pytest

from cni.routing.links import LinkFacts, Own, read_own, sync_link
from cni.routing.peers import Peer, read_peer
from cni.routing.vxlan import VxlanConfig, build_entries, build_gateway, build_link, build_mac
from nodeplane.datapath.rtnl import FdbEntry, LinkChange, Neighbour, Vxlan
from nodeplane.datapath.rtnl.fake import FakeRtnl
from nodeplane.datapath.sysctl import FakeSysctls
from nodeplane.kube.objects import Metadata, Node, NodeAddress, NodeStatus

A4, A6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")
LINK = build_link("n1", VxlanConfig(), A4, 1500, ip_address("10.244.1.0"))
LINK_6 = build_link("n1", VxlanConfig(), A6, 9000, ip_address("fd00::1"))
SETTINGS = {
    f"net/{setting}": "7"
    for name in (LINK.name, LINK_6.name)
    for setting in (
        f"ipv4/conf/{name}/rp_filter",
        f"ipv6/conf/{name}/disable_ipv6",
        f"ipv6/conf/{name}/accept_ra",
        f"ipv6/conf/{name}/addr_gen_mode",
    )
} | {"net/ipv4/ip_forward_use_pmtu": "0"}


def node() -> FakeRtnl:
    rtnl = FakeRtnl()
    rtnl.set_up("lo")
    rtnl.add_veth("eth0", "far", mtu_bytes=9000)
    rtnl.set_up("eth0")
    for text in ("192.0.2.1/24", "10.9.0.1/16", "2001:db8::1/64"):
        rtnl.add_address("eth0", ip_interface(text))
    return rtnl


@pytest.mark.parametrize(
    ("annotations", "addresses", "expected"),
    [
        pytest.param({}, (), Peer(), id="nothing"),
        pytest.param(
            {}, ("192.0.2.1", "node-1", "2001:db8::1"), Peer((A4, A6)), id="what is no address is left out"
        ),
        pytest.param(
            {"projectcalico.org/IPv4Address": "192.0.2.1/20", "projectcalico.org/IPv6Address": "x"},
            ("192.0.2.1",),
            Peer((A4,), (ip_interface("192.0.2.1/20"),)),
            id="Calico's annotation",
        ),
    ],
)
def test_read_peer(annotations: dict[str, str], addresses: tuple[str, ...], expected: Peer) -> None:
    entries = tuple(NodeAddress("InternalIP", address) for address in addresses)

    assert read_peer(Node(Metadata("n1", annotations=annotations), status=NodeStatus(entries))) == expected


NEAR = ip_network("192.0.2.0/24"), ip_network("2001:db8::/64")


LINKS = dict.fromkeys(NEAR, "eth0")
FACTS = {3: LinkFacts(has_carrier=False, mtu_bytes=9000)}


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        pytest.param(Peer(), Own(uplinks=frozenset()), id="no addresses"),
        pytest.param(
            Peer((A4, A6)),
            Own(
                frozenset(NEAR),
                frozenset({3}),
                {4: (A4, 9000), 6: (A6, 9000)},
                subnet_links=LINKS,
                facts=FACTS,
            ),
            id="both families; another address of the link does not count",
        ),
        pytest.param(
            Peer((A4,), (ip_interface("192.0.2.1/20"),)),
            Own(frozenset({ip_network("192.0.0.0/20")}), frozenset({3}), {4: (A4, 9000)}, facts=FACTS),
            id="the annotation's subnet, whose link is not known",
        ),
        pytest.param(
            Peer((ip_address("192.0.2.77"), A4)),
            Own(frozenset({NEAR[0]}), None, subnet_links={NEAR[0]: "eth0"}, facts=FACTS),
            id="the address that others send to is on no link",
        ),
    ],
)
def test_read_own(peer: Peer, expected: Own) -> None:
    assert read_own(node(), peer) == expected


@pytest.mark.parametrize(
    ("alive", "subnets"),
    [
        pytest.param(("eth0", "eth1"), {"192.0.2.0/24", "198.51.100.0/24"}, id="both"),
        pytest.param(("eth1",), {"198.51.100.0/24"}, id="one has lost its carrier"),
        pytest.param((), {"192.0.2.0/24", "198.51.100.0/24"}, id="all have: what there is stays"),
    ],
)
def test_a_link_without_a_carrier_leads_nowhere(alive: tuple[str, ...], subnets: set[str]) -> None:
    rtnl = node()
    rtnl.add_veth("eth1", "far1")
    rtnl.set_up("eth1")
    rtnl.add_address("eth1", ip_interface("198.51.100.1/24"))
    for name, far in (("eth0", "far"), ("eth1", "far1")):
        if name in alive:
            rtnl.set_up(far)

    own = read_own(rtnl, Peer((A4, ip_address("198.51.100.1"))))

    assert {str(subnet) for subnet in own.subnets} == subnets


def test_a_link_is_made_once() -> None:
    rtnl, sysctls = node(), FakeSysctls(SETTINGS)

    assert sync_link(rtnl, sysctls, LINK)
    assert sync_link(rtnl, sysctls, LINK_6)

    assert (rtnl.find_vxlan("np-vxlan4"), rtnl.find_vxlan("np-vxlan6")) == (
        Vxlan(4096, 4789, A4, fragmentation="inherit"),
        Vxlan(4096, 4789, A6, has_checksum=True),
    )
    found = rtnl.link("np-vxlan4"), rtnl.link("np-vxlan6")
    assert [(link.mtu_bytes, link.is_up, link.mac) for link in found] == [
        (1450, True, build_mac("n1")),
        (8930, True, build_mac("n1")),
    ]
    assert rtnl.addresses("np-vxlan4") == {ip_interface("10.244.1.0/32")}
    assert rtnl.addresses("np-vxlan6", 6) == {ip_interface("fd00::1/128")}
    assert sysctls.values["net/ipv4/conf/np-vxlan4/rp_filter"] == "2"
    assert sysctls.values["net/ipv4/ip_forward_use_pmtu"] == "1"
    assert sysctls.values["net/ipv6/conf/np-vxlan4/disable_ipv6"] == "1"
    assert sysctls.values["net/ipv6/conf/np-vxlan6/disable_ipv6"] == "0"
    writes = rtnl.writes, sysctls.writes
    assert not sync_link(rtnl, sysctls, LINK)
    assert (rtnl.writes, sysctls.writes) == writes
    assert read_own(rtnl, Peer((A4,))).vxlan_links == {4: "np-vxlan4", 5: "np-vxlan6"}


@pytest.mark.parametrize(
    ("change", "is_new"),
    [
        pytest.param({"vxlan": msgspec.structs.replace(LINK.vxlan, port=8472)}, True, id="port"),
        pytest.param({"vxlan": msgspec.structs.replace(LINK.vxlan, vni=7)}, True, id="network"),
        pytest.param(
            {"vxlan": msgspec.structs.replace(LINK.vxlan, local=ip_address("10.9.0.1"))}, True, id="node"
        ),
        pytest.param({"mtu_bytes": 1400}, False, id="MTU"),
        pytest.param({"address": ip_interface("10.244.9.9/32")}, False, id="address"),
    ],
)
def test_a_link_follows_what_is_wanted(change: dict[str, object], is_new: bool) -> None:
    rtnl, sysctls = node(), FakeSysctls(SETTINGS)
    sync_link(rtnl, sysctls, LINK)
    index = rtnl.link(LINK.name).index
    wanted = msgspec.structs.replace(LINK, **change)

    assert sync_link(rtnl, sysctls, wanted)
    assert not sync_link(rtnl, sysctls, wanted)

    link = rtnl.link(LINK.name)
    assert (rtnl.find_vxlan(LINK.name), link.mtu_bytes, rtnl.addresses(LINK.name)) == (
        wanted.vxlan,
        wanted.mtu_bytes,
        {wanted.address},
    )
    assert (link.index != index) is is_new


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(LinkChange(LINK.name, is_up=False), id="down"),
        pytest.param(LinkChange(LINK.name, mac="02:00:00:00:00:99"), id="MAC"),
        pytest.param(LinkChange(LINK.name, mtu_bytes=1280), id="MTU"),
    ],
)
def test_damage_to_a_link(change: LinkChange) -> None:
    rtnl, sysctls = node(), FakeSysctls(SETTINGS)
    sync_link(rtnl, sysctls, LINK)
    before = rtnl.link(LINK.name)
    rtnl.apply([change])

    assert sync_link(rtnl, sysctls, LINK)
    assert rtnl.link(LINK.name) == before


def test_a_kernel_without_ipv6() -> None:
    rtnl = node()

    assert sync_link(rtnl, FakeSysctls({"net/ipv4/conf/np-vxlan4/rp_filter": 0}), LINK)


def test_addresses_from_names() -> None:
    """A locally administered MAC of one station, that stays: peers work it out for themselves."""
    assert build_mac("n1") == "ae:69:cc:2b:c4:90"
    for number in range(100):
        first = int(build_mac(f"node-{number}")[:2], 16)
        assert first & 0b11 == 0b10
    assert build_gateway("n1", ip_address("fd00::1")) == ip_address("fe80::ac69:ccff:fe2b:c490")
    assert list(build_entries("n1", A4, ip_address("10.244.1.0"))) == [
        FdbEntry("np-vxlan4", build_mac("n1"), A4),
        Neighbour("np-vxlan4", ip_address("10.244.1.0"), build_mac("n1")),
    ]
    assert list(build_entries("n1", A6, ip_address("fd00::1"))) == [
        FdbEntry("np-vxlan6", build_mac("n1"), A6),
        Neighbour("np-vxlan6", ip_address("fe80::ac69:ccff:fe2b:c490"), build_mac("n1")),
    ]
