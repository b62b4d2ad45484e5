"""Requests as a whole: idempotence, all or none, release, tunnels, probes."""

from collections.abc import Callable
from ipaddress import ip_address

import msgspec
import pytest

from ipam import transact
from ipam.errors import ExhaustedError, InconsistentError
from ipam.handles import release_allocation, release_allocations
from ipam.ledger import Ledger, LedgerReader
from ipam.model import AssignedIp, Assignment, PodRef, Pool, tunnel_handle
from ipam.pool_record import put_pool
from tests.ipam.stand import Stand
from tests.ipam.values import handle, network, request

# Four blocks of four addresses: n1 starts at the first (crc32 % 4 == 0).
POOL = Pool("default", network("10.0.0.0/28"), 30)
SIX = Pool("six", network("fd00::/127"), 127)
LINK = Pool("link", network("10.8.0.0/29"), 30, on_link=True)


def everything(stand: Stand) -> list[tuple[str, bytes]]:
    return transact.read(stand.datastore._store, lambda reader: reader.scan(""))


def test_a_handle_has_one_address_however_often_it_asks() -> None:
    stand = Stand(POOL)
    first = request(1, netns="/run/netns/old")
    got = stand.allocator().assign(first)
    again = msgspec.structs.replace(
        first, pod=PodRef("default", "web-1", "uid-2"), netns="/new", network="net", boot_id="b2", now_s=2000
    )

    assert stand.allocator().assign(again) == got
    assert [
        (item.netns, item.pod.uid, item.network, item.boot_id, item.assigned_at_s)
        for item in stand.allocations()
    ] == [("/new", "uid-2", "net", "b2", 1000)]


def test_the_interfaces_of_a_container_are_apart() -> None:
    stand = Stand(POOL)
    other = msgspec.structs.replace(handle(1), interface="eth1")

    assert stand.add(1) == "10.0.0.0"
    assert stand.add(1, handle=other) == "10.0.0.1"
    assert stand.allocator().release(other)
    assert stand.datastore.read(lambda ledger: ledger.addresses(handle(1))) == (ip_address("10.0.0.0"),)


def test_release() -> None:
    stand = Stand(POOL)
    stand.add(1)

    assert [stand.delete(1), stand.delete(1), stand.delete(2)] == [True, False, False]
    assert stand.allocations() == []
    assert stand.datastore.read(LedgerReader.handles) == []


def test_both_families() -> None:
    stand = Stand(SIX, POOL)

    got = stand.allocator().assign(request(1))

    assert [str(ip.address) for ip in got.ips] == ["10.0.0.0/32", "fd00::/128"]
    assert stand.add(1) == "10.0.0.0,fd00::"
    assert stand.delete(1)
    assert stand.allocations() == []


def test_both_or_neither() -> None:
    stand = Stand(POOL, SIX)
    stand.fill([1, 2])
    before = everything(stand)

    with pytest.raises(ExhaustedError, match="pool six is exhausted"):
        stand.add(3)

    assert everything(stand) == before
    assert stand.add(3, families=(4,)) == "10.0.0.2"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, ["10.0.0.0/32", "fd00::/128"], id="the families of the pools"),
        pytest.param({"families": (6,)}, ["fd00::/128"], id="one family"),
        pytest.param({"families": (6, 4)}, ["10.0.0.0/32", "fd00::/128"], id="IPv4 first"),
        pytest.param({"ipv4_pools": ("link",)}, ["10.8.0.1/29", "fd00::/128"], id="a pool by name"),
        pytest.param({"ipv4_pools": ("10.8.0.0/29",)}, ["10.8.0.1/29", "fd00::/128"], id="a pool by CIDR"),
        pytest.param(
            {"sets": (("six",), ("link", "default"), ("default",))},
            ["fd00::/128", "10.8.0.1/29", "10.0.0.0/32"],
            id="one of each set, in their order",
        ),
        pytest.param(
            {"sets": (("default",), ("default",))}, ["10.0.0.0/32", "10.0.0.1/32"], id="two of one pool"
        ),
    ],
)
def test_what_a_request_gets(fields: dict[str, object], expected: list[str]) -> None:
    stand = Stand(POOL, LINK, SIX)
    wish = msgspec.structs.replace(request(1), **fields)

    assert stand.ask(wish) == expected
    assert stand.ask(wish) == expected


def test_an_assignment_says_where_it_comes_from() -> None:
    got = Stand(POOL).allocator().assign(request(1))

    [ip] = got.ips
    assert got == Assignment((AssignedIp(ip.address, "default", network("10.0.0.0/30")),))


def test_pools_of_the_datastore_are_used_when_the_configuration_has_none() -> None:
    stand = Stand()
    stand.datastore.transact(lambda ledger: put_pool(ledger, POOL))

    assert stand.add(1) == "10.0.0.0"


def test_a_probe_writes_nothing_and_says_what_would_be() -> None:
    stand = Stand(Pool("one", network("10.0.0.0/32"), 32))
    before = everything(stand)

    stand.allocator().probe(request(1))
    assert everything(stand) == before
    stand.add(1)
    with pytest.raises(ExhaustedError, match="pool one is exhausted"):
        stand.allocator().probe(request(2))


def test_a_node_has_one_tunnel_address_in_each_pool() -> None:
    stand = Stand(msgspec.structs.replace(POOL, namespace_selector="team == red"), LINK)
    [first] = stand.allocator().assign_tunnel("n1", stand.pools[0]).ips
    [second] = stand.allocator().assign_tunnel("n1", LINK).ips

    assert [str(first.address), str(second.address)] == ["10.0.0.0/32", "10.8.0.1/29"]
    assert stand.allocator().assign_tunnel("n1", stand.pools[0]).ips == (first,)
    # Pods and garbage collectors of pods do not get at it.
    assert [(item.use, item.netns, str(item.handle)) for item in stand.allocations()] == [
        ("tunnel", "", "node:n1/tunnel:default"),
        ("tunnel", "", "node:n1/tunnel:link"),
    ]
    assert stand.allocator().release(tunnel_handle("n1", "default"))


def test_a_release_that_was_decided_on_an_older_allocation_is_refused() -> None:
    stand = Stand(Pool("one", network("10.0.0.0/32"), 32))
    stand.add(1)
    [seen] = stand.allocations()
    stand.delete(1)
    stand.add(1)

    assert not stand.datastore.transact(lambda ledger: release_allocation(ledger, seen, 2000))
    [now] = stand.allocations()
    assert now.sequence > seen.sequence
    assert stand.datastore.transact(lambda ledger: release_allocation(ledger, now, 2000))


def drop_allocation(ledger: Ledger) -> None:
    ledger.delete_allocation(ip_address("10.0.0.0"))


def drop_block(ledger: Ledger) -> None:
    """Leave what a release that was half written would: the block has the address, so has the pod."""
    block = ledger.block("default", network("10.0.0.0/30"))
    assert block is not None
    ledger.put_block(block, msgspec.structs.replace(block, fresh=0))


def lose_block(ledger: Ledger) -> None:
    ledger.put_entry("blocks/default/10.0.0.0-30", None)


def lose_claim(ledger: Ledger) -> None:
    """Leave a map that would have the node's block claimed again."""
    ledger.put_entry("nodes/n1/default", None)
    ledger.put_entry("claims/default/0/0", None)


@pytest.mark.parametrize(
    ("damage", "container", "message"),
    [
        pytest.param(
            drop_allocation, 1, "c1/eth0 holds 10.0.0.0, which is not allocated to it", id="allocation lost"
        ),
        pytest.param(
            drop_block,
            2,
            "10.0.0.0 is free in block 10.0.0.0/30, yet allocated to c1/eth0",
            id="block says free",
        ),
        pytest.param(
            lose_block,
            2,
            "the index of n1's blocks of pool default is wrong at 10.0.0.0/30",
            id="block lost",
        ),
        pytest.param(
            lose_claim, 2, "the map of pool default has block 10.0.0.0/30 as unclaimed", id="claim lost"
        ),
    ],
)
def test_nothing_is_given_out_of_a_datastore_that_contradicts_itself(
    damage: Callable[[Ledger], None], container: int, message: str
) -> None:
    stand = Stand(POOL)
    stand.add(1)
    stand.datastore.transact(damage)

    with pytest.raises(InconsistentError) as caught:
        stand.add(container)

    assert str(caught.value) == f"{message}: run ipamctl check"


def test_a_release_of_what_is_free_already_mends() -> None:
    """A DEL must succeed, and must not queue an address twice."""
    stand = Stand(POOL)
    stand.add(1)
    stand.datastore.transact(drop_block)

    assert stand.delete(1)
    assert stand.fill(range(2, 6)) == [f"10.0.0.{last}" for last in range(4)]


def test_a_container_id_is_one_nodes() -> None:
    """The same id and interface on two nodes are two attachments."""
    stand = Stand(POOL)
    first, second = stand.add(1, "n1"), stand.add(1, "n2", handle=handle(1, "n2"))

    assert first != second
    assert stand.allocator().release(handle(1, "n1"))
    assert not stand.allocator().release(handle(1, "n1"))
    assert [(str(item.address), item.node) for item in stand.allocations()] == [(second, "n2")]


@pytest.mark.parametrize("is_own", [True, False])
def test_a_release_under_another_node_name(is_own: bool) -> None:
    """The configuration's node name changed since the ADD; who calls knows whether it is the same machine."""
    stand = Stand(POOL)
    stand.add(1)

    assert stand.allocator().release(handle(1, "other"), lambda _: is_own) == is_own
    assert len(stand.allocations()) == (not is_own)


def test_a_handle_that_lost_a_family_is_completed() -> None:
    stand = Stand(POOL, SIX)
    stand.add(1)
    four, six = stand.allocations()
    assert stand.datastore.transact(lambda ledger: release_allocation(ledger, six, 2000))

    assert stand.add(1) == f"{four.address},fd00::1"
    assert stand.add(1) == f"{four.address},fd00::1"


def test_a_handle_that_lost_a_family_and_cannot_be_completed_is_an_error() -> None:
    stand = Stand(POOL, SIX)
    stand.fill([1, 2])
    before = stand.allocations()
    stand.datastore.transact(lambda ledger: release_allocation(ledger, before[-1], 2000))
    stand.add(3, families=(6,))
    held = stand.allocations()

    with pytest.raises(ExhaustedError, match="pool six is exhausted"):
        stand.add(int(before[-1].handle.container_id[1:]))

    assert stand.allocations() == held


def test_a_repeated_request_is_another_record() -> None:
    """A collector that saw the pod dead must not free what was answered since."""
    stand = Stand(POOL)
    stand.add(1)
    [seen] = stand.allocations()
    stand.add(1)

    assert not stand.datastore.transact(lambda ledger: release_allocation(ledger, seen, 2000))


def test_addresses_of_a_handle_are_freed_together() -> None:
    stand = Stand(POOL, SIX)
    stand.add(1)
    seen = stand.allocations()
    stand.add(1)
    four, six = stand.allocations()

    assert not stand.datastore.transact(lambda ledger: release_allocations(ledger, [four, seen[1]], 2000))
    assert len(stand.allocations()) == 2
    assert stand.datastore.transact(lambda ledger: release_allocations(ledger, [four, six], 2000))
    assert stand.allocations() == []
