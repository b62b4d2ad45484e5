"""All that a node needs, kept up change by change: the same as if it had been worked out at once."""

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from cni.routing.desired import Desired
from cni.routing.peers import Peer
from cni.routing.vxlan import build_entries, entry_key
from ipam.model import Block, Lent
from nodeplane.datapath.rtnl import Route

K = TypeVar("K")
NODES = ["n1", "n2", "n3", ""]
BLOCKS = [ip_network(f"10.244.{number}.0/30") for number in range(3)] + [ip_network("fd00::/126")]
PEERS = [
    Peer((ip_address("192.0.2.2"), ip_address("2001:db8::2"))),
    Peer((ip_address("198.51.100.3"),)),
    Peer(),
]
SUBNETS = [frozenset(), frozenset(map(ip_network, ("192.0.2.0/24", "2001:db8::/64")))]
TUNNELS = {4: [ip_address("10.244.0.1"), ip_address("10.244.1.1")], 6: [ip_address("fd00::1")]}

lent = st.lists(
    st.builds(Lent, st.integers(0, 3), st.sampled_from(NODES[:3])), max_size=2, unique_by=lambda x: x.ordinal
)
blocks = st.builds(
    Block,
    st.just(BLOCKS[0]),
    st.sampled_from(["p", "q"]),
    st.sampled_from(NODES),
    lent=lent.map(tuple),
    sequence=st.integers(0, 3),
)
versions = st.sampled_from([4, 6])
peer_changes = st.tuples(st.just("peer"), st.sampled_from(NODES[:3]), st.none() | st.sampled_from(PEERS))
tunnel_changes = versions.flatmap(
    lambda version: st.tuples(
        st.just("tunnel"),
        st.tuples(st.sampled_from(NODES[:3]), st.just(version)),
        st.none() | st.sampled_from(TUNNELS[version]),
    )
)
own_changes = st.tuples(
    st.just("own"), st.none(), st.tuples(st.sampled_from(SUBNETS), st.frozensets(versions))
)
modes = st.none() | st.sampled_from(["direct", "vxlan", "cross-subnet", "bgp"])
mode_changes = st.tuples(st.just("modes"), st.none(), st.dictionaries(st.sampled_from(["p", "q"]), modes))
block_changes = st.tuples(st.just("block"), st.sampled_from(range(4)), st.none() | blocks)
changes = st.lists(
    st.one_of(peer_changes, tunnel_changes, own_changes, mode_changes, block_changes, block_changes),
    max_size=25,
)


def apply(desired: Desired, kind: str, key: Any, value: Any) -> None:
    if kind == "peer":
        desired.set_peer(key, value)
    elif kind == "tunnel":
        node, version = key
        desired.set_tunnel(node, version, value)
    elif kind == "own":
        desired.set_own(*value)
    elif kind == "modes":
        desired.set_modes(value)
    else:
        network = BLOCKS[key]
        block = value and Block(network, value.pool, value.node, lent=value.lent, sequence=value.sequence)
        desired.set_block(f"blocks/{network}", block)


def moved(old: Mapping[K, object], new: Mapping[K, object]) -> set[K]:
    return {each for each in old.keys() | new.keys() if old.get(each) != new.get(each)}


def outcome(desired: Desired) -> tuple[object, ...]:
    return desired.routes, desired.held, desired.announced, desired.entries


@settings(deadline=None)
@given(changes)
def test_the_way_there_does_not_matter(path: list[tuple[str, Any, Any]]) -> None:
    """Only the last word on each thing counts, and whatever it changed was told."""
    walked = Desired("n1")
    seen: dict[object, object] = {}
    for kind, key, value in path:
        before = dict(walked.routes), set(walked.held), dict(walked.entries)
        apply(walked, kind, key, value)
        changed = walked.take_changed()
        after = walked.routes, walked.held, walked.entries
        assert moved(before[0], after[0]) <= changed.destinations
        assert moved(before[2], after[2]) <= changed.entries
        assert before[1] ^ after[1] <= changed.destinations
        seen[kind, key] = (kind, key, value)
    straight = Desired("n1")
    for step in seen.values():
        apply(straight, *step)  # type: ignore[misc]

    assert outcome(walked) == outcome(straight)


def filled() -> Desired:
    desired = Desired("n1")
    desired.set_peer("n2", PEERS[0])
    desired.set_modes({"p": "vxlan"})
    desired.set_own(frozenset(), frozenset({4}))
    desired.set_block("b0", Block(BLOCKS[0], "p", "n2"))
    return desired


def test_entries_of_a_peer() -> None:
    desired = filled()
    assert (desired.entries, desired.held) == ({}, {BLOCKS[0]})

    desired.set_tunnel("n2", 4, TUNNELS[4][0])

    wanted = list(build_entries("n2", PEERS[0].addresses[0], TUNNELS[4][0]))
    assert desired.entries == {entry_key(entry): entry for entry in wanted}
    assert desired.routes[BLOCKS[0]].link == "np-vxlan4"
    desired.set_peer("n2", None)
    assert outcome(desired) == ({}, set(), set(), {})


def test_an_address_that_comes_or_goes_changes_nothing() -> None:
    """A block is another after each ADD; that is no work."""
    desired = filled()
    desired.set_modes({"p": "direct"})
    desired.take_changed()
    before = desired.routes[BLOCKS[0]]

    desired.set_block("b0", Block(BLOCKS[0], "p", "n2", fresh=3, sequence=9))

    changed = desired.take_changed()
    assert (changed.destinations, changed.entries) == (frozenset(), frozenset())
    assert desired.routes[BLOCKS[0]] is before


def test_pools_that_are_not_known_or_not_routed() -> None:
    desired = filled()
    direct = {BLOCKS[0]: Route(BLOCKS[0], gateway=PEERS[0].addresses[0])}
    for modes_now, routes in (({}, direct), ({"p": None}, {}), ({"q": None}, direct)):
        desired.set_modes(modes_now)
        assert desired.routes == routes
