"""Damage of any kind is repaired, and no address that is in use ever comes free by it."""

from collections.abc import Callable
from ipaddress import ip_address

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipam.check import find_contradictions, read_snapshot
from ipam.datastore import Datastore
from ipam.ledger import Ledger
from ipam.model import Address, Allocation, Block, Lent, Pool, Released
from ipam.repair import apply_fixes, repair
from tests.ipam.stand import Stand
from tests.ipam.values import handle, network

POOL = Pool("default", network("10.0.0.0/26"), 28, (network("10.0.0.1/32"),))


@pytest.fixture
def stand() -> Stand:
    """Return two nodes with blocks, in which addresses are in use, lent, freed and withheld."""
    return build_stand()


def build_stand() -> Stand:
    built = Stand(POOL)
    built.fill(range(20))
    built.fill(range(20, 26), "n2")
    for number in (0, 3, 17):
        built.delete(number)
    return built


def in_use(datastore: Datastore) -> dict[Address, Allocation]:
    return {item.address: item for item in datastore.read(read_snapshot).allocations}


def first_block(ledger: Ledger) -> Block:
    blocks = ledger.blocks()
    return next((block for block in blocks if block.released and block.used), blocks[0])


def change_block(**fields: Callable[[Block], object]) -> Callable[[Ledger], None]:
    def damage(ledger: Ledger) -> None:
        block = first_block(ledger)
        changed = {name: value(block) for name, value in fields.items()}
        ledger.put_block(block, msgspec.structs.replace(block, **changed))

    return damage


def lose_block(ledger: Ledger) -> None:
    ledger.delete_block(ledger.pools()[0], first_block(ledger))


def lose_index(ledger: Ledger) -> None:
    for key in ledger.index():
        ledger.put_entry(key, None)


def invent_index(ledger: Ledger) -> None:
    ledger.put_entry("spare/default/00000000009/10.0.0.16-28", b"n7")


def lose_allocation(ledger: Ledger) -> None:
    for item in ledger.allocations():
        if item.handle == handle(5):
            ledger.delete_allocation(item.address)


def lose_handle(ledger: Ledger) -> None:
    ledger.put_addresses(handle(5), ())


def double_handle(ledger: Ledger) -> None:
    ledger.put_addresses(handle(99), (*ledger.addresses(handle(5)), ip_address("10.0.0.63")))


def one_used(block: Block) -> int:
    """Return the ordinal of an address in use."""
    free = {item.ordinal for item in block.released} | set(block.withheld)
    return next((ordinal for ordinal in range(block.fresh) if ordinal not in free), 0)


DAMAGE = {
    "in use, and free": change_block(released=lambda block: (*block.released, Released(one_used(block), 5))),
    "in use, and withheld": change_block(withheld=lambda block: (*block.withheld, one_used(block))),
    "in use, and fresh": change_block(fresh=lambda _: 0, released=lambda _: (), withheld=lambda _: ()),
    "lost": change_block(released=lambda _: ()),
    "free twice": change_block(released=lambda block: block.released * 2),
    "free out of range": change_block(released=lambda block: (*block.released, Released(99, 5))),
    "beyond the end": change_block(fresh=lambda _: 99),
    "lent by mistake": change_block(lent=lambda block: (*block.lent, Lent(one_used(block), "n9"))),
    "block lost": lose_block,
    "index lost": lose_index,
    "index invented": invent_index,
    "allocation lost": lose_allocation,
    "handle lost": lose_handle,
    "handle of another's": double_handle,
}


def expect_sound(stand: Stand, before: dict[Address, Allocation], *, but: set[Address]) -> None:
    """See that all is in order, nobody lost an address, and new ones go to others."""
    assert find_contradictions(stand.datastore.read(read_snapshot)) == []
    after = in_use(stand.datastore)
    assert {address: item for address, item in before.items() if address not in but} == after
    stand.now_s += 1000
    given_out = {ip_address(stand.add(number, "n3")) for number in range(100, 104)}
    assert len(given_out) == 4
    assert not given_out & after.keys()
    assert find_contradictions(stand.datastore.read(read_snapshot)) == []


@pytest.mark.parametrize("kind", DAMAGE)
def test_repair(kind: str, stand: Stand) -> None:
    before = in_use(stand.datastore)
    lost = {item.address for item in before.values() if item.handle == handle(5)}
    stand.datastore.transact(DAMAGE[kind])
    assert find_contradictions(stand.datastore.read(read_snapshot))

    repaired = repair(stand.datastore, stand.now_s)

    assert all(item.done is not None for item in repaired)
    assert any(item.done for item in repaired)
    expect_sound(stand, before, but=lost if kind == "allocation lost" else set())


@given(kinds=st.lists(st.sampled_from(sorted(set(DAMAGE) - {"block lost"})), min_size=1, max_size=4))
@settings(deadline=None, max_examples=40)
def test_repair_of_much_at_once(kinds: list[str]) -> None:
    stand = build_stand()
    before = in_use(stand.datastore)
    lost = {item.address for item in before.values() if item.handle == handle(5)}
    for kind in kinds:
        stand.datastore.transact(DAMAGE[kind])

    repair(stand.datastore, stand.now_s)

    expect_sound(stand, before, but=lost if "allocation lost" in kinds else set())


@pytest.mark.parametrize("kind", sorted(set(DAMAGE) - {"block lost", "index lost"}))
def test_what_is_no_longer_wrong_is_left_alone(kind: str, stand: Stand) -> None:
    """Between the look and the fix somebody else has put it right: nothing is written."""
    sound = stand.datastore.read(read_snapshot)
    stand.datastore.transact(DAMAGE[kind])
    findings = find_contradictions(stand.datastore.read(read_snapshot))
    repair(stand.datastore, stand.now_s)
    before = stand.datastore.read(read_snapshot)

    repaired = apply_fixes(stand.datastore, findings, stand.now_s)

    assert [item.done for item in repaired] == [""] * len(findings)
    assert stand.datastore.read(read_snapshot) == before
    assert {item.address for item in sound.allocations} >= {item.address for item in before.allocations}
