"""Links: making, changing, reading and deleting them."""

import pytest

from nodeplane.datapath.rtnl import ALIAS_BYTES, open_rtnl
from nodeplane.errors import KernelError
from tests.datapath.rtnl.pair import MISSING, Pair, Step, rows

REFUSALS: list[tuple[str, Step, str]] = [
    ("link that is not there", lambda p: p.near.link("no"), "ENODEV"),
    ("delete a link that is not there", lambda p: p.near.delete_link("no"), "ENODEV"),
    ("delete the loopback", lambda p: p.near.delete_link("lo"), "ENOTSUP"),
    ("set up a link that is not there", lambda p: p.near.set_up("no"), "ENODEV"),
    ("veth, name taken here", lambda p: p.near.add_veth("v0", "eth9", p.far_path), "EEXIST"),
    ("veth, name taken there", lambda p: p.near.add_veth("v9", "eth0", p.far_path), "EEXIST"),
    ("veth into no namespace", lambda p: p.near.add_veth("v9", "eth9", MISSING), "ENOENT"),
    ("veth, MTU too small", lambda p: p.near.add_veth("v9", "eth9", p.far_path, 67), "EINVAL"),
    ("veth, name too long", lambda p: p.near.add_veth("v" * 16, "eth9"), "ERANGE"),
    ("veth, slash in a name", lambda p: p.near.add_veth("v9", "eth/9"), "EINVAL"),
    ("veth, no name", lambda p: p.near.add_veth("", "eth9"), "EINVAL"),
    ("bridge, name taken", lambda p: p.near.add_bridge("v0"), "EEXIST"),
    ("MTU too small", lambda p: p.near.set_mtu("v0", 67), "EINVAL"),
    ("alias too long", lambda p: p.near.set_alias("v0", "a" * 255), "ERANGE"),
    ("master that is not there", lambda p: p.near.set_master("v0", "no"), "ENODEV"),
    ("a group's MAC", lambda p: p.near.set_mac("v0", "01:00:00:00:00:01"), "EADDRNOTAVAIL"),
    (
        "veth, no MAC",
        lambda p: p.near.add_veth("v9", "eth9", p.far_path, mac="00:00:00:00:00:00"),
        "EADDRNOTAVAIL",
    ),
]


@rows(REFUSALS)
def test_refusals_carry_the_kernels_errno(pair: Pair, step: Step, expected: str) -> None:
    with pytest.raises(KernelError, match=rf"\({expected}\)\Z"):
        step(pair)


def test_a_veth_knows_its_peer(pair: Pair) -> None:
    near, far = pair.near.link("v0"), pair.far.link("eth0")

    assert (near.peer_index, far.peer_index) == (far.index, near.index)
    assert (near.kind, near.mtu_bytes, near.is_up, near.has_carrier) == ("veth", 1400, True, True)
    assert near.mac != far.mac


def test_a_veth_with_addresses_of_its_own(pair: Pair) -> None:
    pair.near.add_veth(
        "v1", "eth1", pair.far_path, 1300, mac="ee:ee:ee:ee:ee:ee", peer_mac="02:00:00:00:00:09"
    )

    near, far = pair.near.link("v1"), pair.far.link("eth1")
    assert (near.mac, far.mac, near.is_up, far.is_up) == (
        "ee:ee:ee:ee:ee:ee",
        "02:00:00:00:00:09",
        False,
        False,
    )


def test_links_lists_what_link_returns(pair: Pair) -> None:
    pair.near.add_bridge("br0")
    pair.near.set_master("v0", "br0")
    pair.near.set_alias("v0", "pod default/web-0")
    pair.near.set_mac("v0", "02:00:00:00:00:07")
    pair.near.set_mtu("v0", 9000)

    links = pair.near.links()

    assert links.keys() == {"lo", "v0", "br0"}
    assert links == {name: pair.near.link(name) for name in links}
    v0 = links["v0"]
    assert (v0.master, v0.alias, v0.mac, v0.mtu_bytes) == (
        "br0",
        "pod default/web-0",
        "02:00:00:00:00:07",
        9000,
    )


def test_find_link(pair: Pair) -> None:
    assert pair.near.find_link("v0") == pair.near.link("v0")
    assert pair.near.find_link("no") is None


def test_the_longest_alias(pair: Pair) -> None:
    pair.near.set_alias("v0", "a" * ALIAS_BYTES)

    assert pair.near.link("v0").alias == "a" * 254


def test_carrier_needs_both_ends(pair: Pair) -> None:
    pair.far.set_down("eth0")

    assert not pair.near.link("v0").has_carrier


def test_deleting_one_end_deletes_the_other(pair: Pair) -> None:
    pair.near.delete_link("v0")

    assert pair.far.links().keys() == {"lo"}


@pytest.mark.netns
def test_opening_no_namespace_is_refused() -> None:
    with pytest.raises(KernelError, match="ENOENT"), open_rtnl(MISSING):
        pass
