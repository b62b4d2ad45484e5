"""What a request touches: a few keys, the node's own, however much is stored."""

import msgspec
import pytest

from ipam import transact
from ipam.handles import assign, release_handle
from ipam.ledger import Ledger
from ipam.model import Policy, Pool, Request
from tests.ipam.stand import Stand
from tests.ipam.values import handle, network, request

POOL = Pool("default", network("10.0.0.0/28"), 30)


class Noting:
    """A transaction that notes the keys; who scans in it fails: that can't be validated cheaply."""

    def __init__(self, transaction: transact.Transaction) -> None:
        self._transaction = transaction
        self.read: list[str] = []
        self.written: list[str] = []

    def get(self, key: str) -> bytes | None:
        self.read.append(key)
        return self._transaction.get(key)

    def scan(self, prefix: str, limit: int | None = None) -> list[tuple[str, bytes]]:
        raise AssertionError(prefix)

    def peek(self, prefix: str, limit: int | None = None) -> list[tuple[str, bytes]]:
        raise AssertionError(prefix)

    def put(self, key: str, value: bytes) -> None:
        self.written.append(key)
        self._transaction.put(key, value)

    def delete(self, key: str) -> None:
        self.written.append(key)
        self._transaction.delete(key)


def assign_noted(stand: Stand, wish: Request) -> Noting:
    def step(transaction: transact.Transaction) -> Noting:
        noting = Noting(transaction)
        assign(Ledger(noting), stand.pools, Policy(), wish)
        return noting

    return transact.transact(stand.datastore._store, step)


def release_noted(stand: Stand, number: int) -> Noting:
    def step(transaction: transact.Transaction) -> Noting:
        noting = Noting(transaction)
        release_handle(Ledger(noting), handle(number), stand.now_s)
        return noting

    return transact.transact(stand.datastore._store, step)


def test_an_allocation_out_of_an_own_block() -> None:
    stand = Stand(POOL)
    stand.add(1)

    noting = assign_noted(stand, request(2))

    assert set(noting.read) == {
        "pools",
        "handles/c2/eth0/n1",
        "nodes/n1/default",
        "nodes/n1/default/140000",
        "blocks/default/10.0.0.0-30",
        "allocations/10.0.0.1",
    }
    assert set(noting.written) == {"handles/c2/eth0/n1", "blocks/default/10.0.0.0-30", "allocations/10.0.0.1"}


def test_an_allocation_of_a_released_address_moves_the_block_in_the_indexes() -> None:
    stand = Stand(POOL)
    stand.fill(range(4))
    stand.delete(3)
    stand.now_s += 100

    noting = assign_noted(stand, request(20, stand.now_s))

    assert set(noting.written) == {
        "handles/c20/eth0/n1",
        "blocks/default/10.0.0.0-30",
        "allocations/10.0.0.3",
        "nodes/n1/default",
        "nodes/n1/default/140000",
        "spare/default/00000001000/10.0.0.0-30",
    }


def test_a_repeated_request_writes_its_allocation() -> None:
    """A collector that saw its pod dead before must find another record."""
    stand = Stand(POOL)
    stand.add(1)

    assert assign_noted(stand, request(1)).written == ["allocations/10.0.0.0"]


def test_a_new_block_costs_a_word_of_the_map() -> None:
    stand = Stand(POOL)
    stand.fill(range(4))

    noting = assign_noted(stand, request(20))

    assert {key for key in noting.read if key.startswith("claims/")} == {"claims/default/0/0"}
    assert len(set(noting.read)) == 7


@pytest.mark.parametrize("count", [2, 40, 120])
def test_a_request_touches_as_many_keys_whatever_the_node_has(count: int) -> None:
    """Full blocks, long queues of released addresses, many segments: the same few keys."""
    stand = Stand(msgspec.structs.replace(POOL, network=network("10.0.0.0/20")))
    stand.fill(range(4 * count))
    for number in range(0, 4 * count, 2):
        stand.delete(number)
        stand.now_s += 1
    stand.now_s += 100

    assigned = assign_noted(stand, request(10**6, stand.now_s))
    released = release_noted(stand, 1)

    assert (len(set(assigned.read)), len(set(assigned.written))) == (6, 7)
    assert (len(set(released.read)), len(set(released.written))) == (3, 3)
