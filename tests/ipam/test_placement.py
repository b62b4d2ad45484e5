"""The order of choices over blocks: own, new, of no node, another's; and what has not rested last."""

import msgspec
import pytest

from ipam.errors import ExhaustedError
from ipam.ledger import LedgerReader
from ipam.model import Policy, Pool
from ipam.reclaim import Reclaim, reclaim
from tests.ipam.stand import Stand
from tests.ipam.values import network

# Four blocks of four addresses: n1 starts at the first (crc32 % 4 == 0), n5 at the second.
POOL = Pool("default", network("10.0.0.0/28"), 30)
SPARE = Pool("spare", network("10.9.0.0/30"), 30)


def addresses(*last: int) -> list[str]:
    return [f"10.0.0.{number}" for number in last]


def test_own_blocks_first_then_a_new_one() -> None:
    stand = Stand(POOL)

    assert stand.fill(range(4), "n1") == addresses(0, 1, 2, 3)
    assert stand.fill(range(10, 12), "n5") == addresses(4, 5)
    # The second block is n5's, so n1 goes on to the third.
    assert stand.fill(range(4, 6), "n1") == addresses(8, 9)
    assert stand.blocks() == {"10.0.0.0/30": "n1 4", "10.0.0.4/30": "n5 2", "10.0.0.8/30": "n1 2"}


def test_pools_are_used_in_their_order() -> None:
    stand = Stand(SPARE, POOL)

    assert stand.fill(range(5)) == [*(f"10.9.0.{last}" for last in range(4)), "10.0.0.0"]
    stand.delete(0)
    stand.now_s += 60
    # Own blocks go before new ones, the first pool's before the others'.
    assert stand.fill([20, 21]) == ["10.9.0.0", "10.0.0.1"]


def test_what_rested_longest_in_all_own_blocks_comes_first() -> None:
    stand = Stand(POOL)
    stand.fill(range(8))
    for number in (6, 1, 4, 0):
        stand.delete(number)
        stand.now_s += 1
    stand.now_s += 60

    # Container 6 had 10.0.0.6, 1 had 10.0.0.1 …
    assert stand.fill(range(20, 24)) == addresses(6, 1, 4, 0)


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [
        pytest.param(0, "10.0.0.4", id="just freed: a new block goes first"),
        pytest.param(59, "10.0.0.4", id="almost rested"),
        pytest.param(60, "10.0.0.1", id="rested"),
        pytest.param(-30, "10.0.0.4", id="freed in the future: a clock was set back"),
        pytest.param(-3000, "10.0.0.1", id="freed in a far future: nobody waits for it"),
    ],
)
def test_a_freed_address_rests(age_s: int, expected: str) -> None:
    stand = Stand(POOL)
    stand.fill(range(4))
    stand.delete(1)

    stand.now_s += age_s

    assert stand.add(9) == expected


def test_a_freed_address_rests_even_if_that_means_to_borrow() -> None:
    stand = Stand(POOL)
    stand.fill([20], "n5")
    stand.fill(range(12), "n1")
    stand.delete(3)

    assert stand.add(30, "n1") == "10.0.0.5"
    # Nothing has rested once these are gone: then what was freed the longest ago.
    stand.fill([31, 32], "n1")
    stand.now_s += 1
    stand.delete(20)
    assert stand.fill([33, 34], "n1") == addresses(3, 4)
    with pytest.raises(ExhaustedError):
        stand.add(35)


def test_borrowing_marks_the_block_and_returns_to_it() -> None:
    stand = Stand(POOL)
    stand.fill([20], "n5")
    stand.fill(range(12), "n1")

    assert stand.add(30, "n1") == "10.0.0.5"
    lender = stand.datastore.blocks()[1]
    assert (
        lender.node,
        lender.used,
        [tuple(item) for item in map(msgspec.structs.astuple, lender.lent)],
    ) == (
        "n5",
        2,
        [(1, "n1")],
    )
    stand.delete(30)
    assert stand.datastore.blocks()[1].lent == ()
    assert stand.blocks()["10.0.0.4/30"] == "n5 1"


def test_strict_affinity_never_borrows() -> None:
    stand = Stand(POOL)
    stand.policy = Policy(strict_affinity=True)
    stand.fill([20], "n5")
    stand.fill(range(12), "n1")

    with pytest.raises(ExhaustedError):
        stand.add(30, "n1")
    stand.delete(4)
    assert stand.add(30, "n1") == "10.0.0.8"


def test_a_node_with_all_its_blocks_borrows() -> None:
    stand = Stand(POOL)
    stand.policy = Policy(max_blocks_per_node=1)
    stand.fill([20], "n5")

    assert stand.fill(range(7), "n1") == addresses(0, 1, 2, 3, 5, 6, 7)
    with pytest.raises(ExhaustedError):
        stand.add(8, "n1")
    assert stand.add(9, "n9") == "10.0.0.8"


def test_the_most_blocks_of_a_node_are_counted_by_family() -> None:
    ipv6 = Pool("six", network("fd00::/124"), 126)
    stand = Stand(POOL, SPARE, ipv6)
    stand.policy = Policy(max_blocks_per_node=1, strict_affinity=True)

    assert stand.add(1) == "10.0.0.0,fd00::"
    stand.fill([2, 3, 4])
    with pytest.raises(ExhaustedError):
        stand.add(5)
    assert len(stand.blocks()) == 2


def disown(stand: Stand, which: int) -> None:
    block = stand.datastore.blocks()[which]
    assert stand.datastore.transact(lambda ledger: reclaim(ledger, Reclaim(block, "disown")))


def test_a_block_of_no_node_is_taken_over_when_no_new_one_is_left() -> None:
    stand = Stand(POOL)
    stand.fill(range(4), "n1")
    stand.fill(range(10, 22), "n5")
    stand.delete(0)
    disown(stand, 0)
    stand.now_s += 60

    assert stand.add(30, "n5") == "10.0.0.0"
    assert stand.blocks()["10.0.0.0/30"] == "n5 4"


def test_an_address_borrowed_from_a_block_stays_when_its_borrower_takes_the_block_over() -> None:
    stand = Stand(Pool("default", network("10.0.0.0/30"), 30))
    stand.fill([0, 1], "n1")
    stand.add(2, "n5")
    for number in (0, 1):
        stand.delete(number)
    disown(stand, 0)

    assert stand.add(3, "n5") == "10.0.0.3"
    [block] = stand.datastore.blocks()
    assert (block.node, block.lent, block.used) == ("n5", (), 2)


def test_reserved_addresses_are_never_given_out() -> None:
    reserved = (network("10.0.0.0/31"), network("10.0.0.4/30"), network("10.0.0.9/32"))
    stand = Stand(msgspec.structs.replace(POOL, reserved=reserved))

    assert stand.fill(range(9)) == addresses(2, 3, 8, 10, 11, 12, 13, 14, 15)
    with pytest.raises(ExhaustedError):
        stand.add(9)


@pytest.mark.parametrize("block_size", [26, 28, 30, 31, 32])
@pytest.mark.parametrize(
    ("cidr", "count"),
    [
        pytest.param("10.0.0.0/26", 62, id="IPv4"),
        pytest.param("10.0.0.0/30", 2, id="a link of two"),
        pytest.param("10.0.0.0/31", 2, id="point to point"),
        pytest.param("10.0.0.7/32", 1, id="one address"),
    ],
)
def test_edges_of_a_link_are_never_given_out(block_size: int, cidr: str, count: int) -> None:
    """Whatever the blocks are, only the first and last address of the subnet stay out of use."""
    size = max(block_size, network(cidr).prefixlen)
    stand = Stand(Pool("link", network(cidr), size, on_link=True))

    got = stand.fill(range(count))

    assert set(got) == set(map(str, network(cidr).hosts()))
    with pytest.raises(ExhaustedError):
        stand.add(count)


@pytest.mark.parametrize("block_size", [30, 31, 32])
def test_a_routed_pool_has_no_edges(block_size: int) -> None:
    stand = Stand(Pool("routed", network("10.0.0.0/30"), block_size))

    assert sorted(stand.fill(range(4))) == addresses(0, 1, 2, 3)


def test_one_reservation_does_not_make_its_block_the_first_choice() -> None:
    """What is passed over because it is reserved must not count as an address that waits to be used."""
    reserved = (network("10.0.0.0/32"),)
    stand = Stand(msgspec.structs.replace(POOL, reserved=reserved))
    stand.fill(range(7))
    stand.delete(4)
    stand.now_s += 1
    stand.delete(0)
    stand.now_s += 60

    assert stand.fill([20, 21]) == addresses(5, 1)


def test_a_reservation_that_ends_frees_its_addresses() -> None:
    stand = Stand(msgspec.structs.replace(POOL, reserved=(network("10.0.0.0/31"),)))
    stand.fill(range(14))
    stand.pools = (POOL,)

    assert stand.fill([14, 15]) == addresses(0, 1)


def test_a_reservation_that_begins_takes_free_addresses_out() -> None:
    stand = Stand(POOL)
    stand.fill(range(16))
    for number in (1, 2, 9):
        stand.delete(number)
    stand.now_s += 60
    stand.pools = (msgspec.structs.replace(POOL, reserved=(network("10.0.0.0/30"),)),)

    assert stand.add(20) == "10.0.0.9"
    with pytest.raises(ExhaustedError):
        stand.add(21)
    # One that is in use stays; when it is freed, it does not come back.
    stand.delete(0)
    stand.now_s += 60
    with pytest.raises(ExhaustedError):
        stand.add(22)
    assert stand.datastore.read(LedgerReader.allocations)[0].address == network("10.0.0.3").network_address


def test_nodes_that_borrow_do_not_all_want_the_same_address() -> None:
    pool = Pool("default", network("10.0.0.0/24"), 26)
    stand = Stand(pool)
    stand.policy = Policy(max_blocks_per_node=1)
    for number in range(4):
        stand.add(number, f"owner-{number}")

    lenders = {stand.add(100 + number, f"borrower-{number}").rpartition(".")[2] for number in range(40)}

    assert len({int(last) // 64 for last in lenders}) == 4


def test_what_a_change_of_reservations_frees_can_be_borrowed_at_once() -> None:
    """The request that brings the change along finds it, also in another node's full block."""
    stand = Stand(msgspec.structs.replace(POOL, reserved=(network("10.0.0.5/32"),)))
    stand.fill(range(20, 23), "n5")
    stand.fill(range(12), "n1")
    stand.pools = (POOL,)

    assert stand.add(30, "n1") == "10.0.0.5"
