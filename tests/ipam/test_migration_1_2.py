"""A datastore of schema 1, as the nodeplane of issue 3 left it, in the layout of schema 2."""

import pytest

from ipam.datastore import Datastore
from ipam.errors import DatastoreError
from ipam.handles import assign, release_handle
from ipam.ledger import LedgerReader
from ipam.migration_1_2 import convert_1_to_2
from ipam.model import Lent, Policy, Pool, Released
from ipam.stores.memory import MemoryStore
from tests.ipam.values import handle, network, request

OLD = {
    "pools/default": b'{"name":"default","cidr":"10.0.0.0/28","blockSize":30,"reserved":["10.0.0.0/32"]}',
    "pools/spare": b'{"name":"spare","cidr":"10.9.0.0/30","blockSize":30,"reserved":[]}',
    # The reserved address was passed over, one is in use, one was released, one was never used.
    "blocks/default/10.0.0.0-30": b'{"cidr":"10.0.0.0/30","pool":"default","node":"n1","fresh":3,'
    b'"released":[[0,0],[2,1700000000]],"sequence":5}',
    "blocks/default/10.0.0.8-30": b'{"cidr":"10.0.0.8/30","pool":"default","node":"n5","fresh":4,'
    b'"released":[[3,1700000001],[0,1700000002],[1,1700000003],[2,1700000004]],"sequence":9}',
    "open/n1/default/00000000000/10.0.0.0-30": b"10.0.0.0/30",
    "open/n5/default/01700000001/10.0.0.8-30": b"10.0.0.8/30",
    "allocations/10.0.0.1": b'{"address":"10.0.0.1","block":"10.0.0.0/30","pool":"default","node":"n1",'
    b'"handle":{"container_id":"c1","interface":"eth0"},'
    b'"pod":{"namespace":"default","name":"web-1","uid":"uid-1"},'
    b'"netns":"/run/netns/p1","assignedAt":1000,"sequence":1}',
    "handles/c1/eth0": b'{"handle":{"container_id":"c1","interface":"eth0"},"addresses":["10.0.0.1"]}',
}
DEFAULT = Pool("default", network("10.0.0.0/28"), 30, (network("10.0.0.0/32"),))
SPARE = Pool("spare", network("10.9.0.0/30"), 30)


def migrated() -> Datastore:
    store = MemoryStore()
    assert store.commit((), convert_1_to_2(OLD))
    return Datastore(store)


def test_all_is_there() -> None:
    datastore = migrated()

    assert datastore.read(LedgerReader.pools) == (DEFAULT, SPARE)
    [held] = datastore.read(LedgerReader.allocations)
    assert (str(held.address), held.handle, held.use, held.assigned_at_s) == (
        "10.0.0.1",
        handle(1),
        "pod",
        1000,
    )
    first, second = datastore.blocks()
    assert (first.fresh, first.released, first.used, first.lent) == (
        3,
        (Released(0, 0), Released(2, 1_700_000_000)),
        1,
        tuple[Lent, ...](),
    )
    assert (second.node, second.used, second.idle_since_s) == ("n5", 0, 1_700_000_001)


def test_it_goes_on_from_there() -> None:
    datastore = migrated()

    def step(number: int, node: str) -> str:
        wish = request(number, 1_700_001_000, node)
        [ip] = datastore.transact(lambda ledger: assign(ledger, (DEFAULT, SPARE), Policy(), wish)) or ()
        return str(ip.address)

    assert [step(number, "n1") for number in (1, 2, 3, 4)] == [
        "10.0.0.1/32",
        "10.0.0.3/32",
        "10.0.0.2/32",
        "10.0.0.4/32",
    ]
    assert step(5, "n5") == "10.0.0.11/32"
    assert datastore.transact(lambda ledger: release_handle(ledger, handle(1), 1_700_001_000))


def test_nothing_stays_nothing() -> None:
    assert convert_1_to_2({}) == {}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        pytest.param({"blocks/x/y": b"{"}, "a value that is not ours", id="a damaged value"),
        pytest.param(
            {"other/x": b"{}"}, "'other/x', which schema version 1 does not have", id="a key of others"
        ),
    ],
)
def test_what_schema_1_does_not_have_is_an_error(entries: dict[str, bytes], message: str) -> None:
    with pytest.raises(DatastoreError, match=message):
        convert_1_to_2(entries)
