"""Entries that can't be read, lie under another's key or are none of ours: told, and repaired if safe."""

from collections.abc import Callable
from ipaddress import ip_address

import pytest

from ipam.check import find_contradictions, find_strangers, read_snapshot
from ipam.errors import DatastoreError, UnreadableError
from ipam.keys import CLAIMS, POOLS, allocation_key, block_key, handle_key
from ipam.ledger import Ledger, LedgerReader
from ipam.model import Pool
from ipam.repair import repair
from tests.ipam.stand import Stand
from tests.ipam.values import network

POOL = Pool("p", network("10.8.0.0/24"), 28)
Damage = Callable[[Ledger, "Keys"], None]


class Keys:
    """The keys of three allocations on one node, and of what belongs to them."""

    def __init__(self, stand: Stand) -> None:
        first, second, _ = stand.datastore.read(LedgerReader.allocations)
        self.first, self.second = (
            allocation_key(first.address),
            allocation_key(second.address),
        )
        self.later = allocation_key(first.address + 9)
        self.block = block_key(first.pool, first.block)
        other = network(f"10.8.0.{16 if first.block.network_address != ip_address('10.8.0.16') else 32}/28")
        self.other_block = block_key(first.pool, other)
        self.handle, self.other_handle = handle_key(first.handle), handle_key(second.handle)


def replace(key: str, old: bytes, new: bytes) -> Damage:
    def damage(ledger: Ledger, keys: Keys) -> None:
        name = getattr(keys, key)
        value = ledger.entry(name)
        assert value is not None
        assert old in value
        ledger.put_entry(name, value.replace(old, new))

    return damage


def spoil(key: str) -> Damage:
    return lambda ledger, keys: ledger.put_entry(getattr(keys, key), b"{spoilt")


def copy(start: str, end: str, *, move: bool = False) -> Damage:
    def damage(ledger: Ledger, keys: Keys) -> None:
        ledger.put_entry(getattr(keys, end), ledger.entry(getattr(keys, start)))
        if move:
            ledger.put_entry(getattr(keys, start), None)

    return damage


DAMAGE: dict[str, Damage] = {
    "allocation names another pool": replace("first", b'"pool":"p"', b'"pool":"q"'),
    "allocation unreadable": spoil("first"),
    "allocation under another key": copy("first", "later", move=True),
    "copy of an allocation": copy("first", "later"),
    "block unreadable": spoil("block"),
    "copy of a block": copy("block", "other_block"),
    "handle unreadable": spoil("handle"),
    "handle under another's key": copy("handle", "other_handle"),
}


@pytest.fixture
def stand() -> Stand:
    built = Stand(POOL)
    built.fill(range(3))
    return built


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_told_and_repaired_and_nothing_in_use_comes_free(kind: str, stand: Stand) -> None:
    used = {str(item.address) for item in stand.allocations()}
    keys = Keys(stand)
    stand.datastore.transact(lambda ledger: DAMAGE[kind](ledger, keys))
    assert find_contradictions(stand.datastore.read(read_snapshot))

    repaired = repair(stand.datastore, stand.now_s)

    assert all(item.done is not None for item in repaired)
    assert find_contradictions(stand.datastore.read(read_snapshot)) == []
    assert {str(item.address) for item in stand.allocations()} == used
    stand.now_s += 1000
    assert not used & set(stand.fill(range(10, 40)))


def test_an_allocation_that_no_handle_lists_stays_in_use(stand: Stand) -> None:
    keys = Keys(stand)
    stand.datastore.transact(lambda ledger: DAMAGE["allocation unreadable"](ledger, keys))
    stand.datastore.transact(lambda ledger: ledger.put_entry(keys.handle, None))

    (left,) = repair(stand.datastore, stand.now_s)

    assert (left.finding.subject, left.done) == (f"key {keys.first}", None)
    assert "counts as in use" in left.finding.problem
    address = keys.first.rpartition("/")[2]
    stand.now_s += 1000
    assert address not in stand.fill(range(10, 40))


def test_others_are_read_beside_what_can_not_be(stand: Stand) -> None:
    keys = Keys(stand)
    stand.datastore.transact(lambda ledger: spoil("first")(ledger, keys))

    assert len(stand.datastore.read(LedgerReader.sound_allocations)) == 2
    with pytest.raises(UnreadableError, match=f"{keys.first}: .*run ipamctl check"):
        stand.datastore.read(LedgerReader.allocations)


@pytest.mark.parametrize("value", [None, b"{spoilt"])
def test_without_the_pools_record_no_block_comes_free(value: bytes | None, stand: Stand) -> None:
    stand.datastore.transact(lambda ledger: ledger.put_entry(POOLS, value))
    claims = {key for key in stand.datastore.read(LedgerReader.index) if key.startswith(CLAIMS)}

    repair(stand.datastore, stand.now_s)

    left = find_contradictions(stand.datastore.read(read_snapshot))
    assert [item.problem for item in left] == ["its pool is not known: put it back with ipamctl pools apply"]
    assert claims <= stand.datastore.read(LedgerReader.index).keys()
    # The next request of a configuration that has the pool puts it back.
    stand.add(50, "n2")
    assert find_contradictions(stand.datastore.read(read_snapshot)) == []


def test_a_key_that_is_none_of_ours(stand: Stand) -> None:
    stand.datastore.transact(lambda ledger: ledger.put_entry("foo/bar", b"x"))

    (found,) = stand.datastore.read(find_strangers)

    assert (found.subject, found.fix) == ("key foo/bar", None)
    assert issubclass(UnreadableError, DatastoreError)


def test_a_tunnel_address_that_is_written_anew_is_one_still(stand: Stand) -> None:
    got = stand.allocator().assign_tunnel("n1", POOL)
    key = allocation_key(got.ips[0].address.ip)
    stand.datastore.transact(lambda ledger: ledger.put_entry(key, b"{spoilt"))

    repair(stand.datastore, stand.now_s)

    [item] = [item for item in stand.allocations() if item.address == got.ips[0].address.ip]
    assert (item.use, item.node, str(item.handle)) == ("tunnel", "n1", "node:n1/tunnel:p")
    assert stand.allocator().assign_tunnel("n1", POOL) == got
