"""How values lie in a store."""

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipam import records
from ipam.errors import DatastoreError
from ipam.model import Allocation, Block, Handle, PodRef, Pool, Released
from tests.ipam.values import BLOCK, POOL, allocation, network

NETWORKS = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(lambda address: network(f"{address}"))
COUNTS = st.integers(0, 2**31)
BLOCKS = st.builds(
    Block,
    network=NETWORKS,
    pool=st.text(),
    node=st.text(),
    fresh=COUNTS,
    released=st.lists(st.builds(Released, COUNTS, COUNTS)).map(tuple),
    sequence=COUNTS,
)
HANDLES = st.builds(Handle, st.text(), st.text())
ALLOCATIONS = st.builds(
    Allocation,
    address=st.ip_addresses(),
    block=NETWORKS,
    pool=st.text(),
    node=st.text(),
    handle=HANDLES,
    pod=st.builds(PodRef, st.text(), st.text(), st.text()),
    netns=st.text(),
    assigned_at_s=COUNTS,
    sequence=COUNTS,
)
POOLS = st.builds(
    Pool, name=st.text(), network=NETWORKS, block_size=COUNTS, reserved=st.lists(NETWORKS).map(tuple)
)


@given(POOLS, BLOCKS, ALLOCATIONS)
@settings(deadline=None)
def test_values_round_trip(pool: Pool, block: Block, held: Allocation) -> None:
    assert records.decode_pool(records.encode_pool(pool)) == pool
    assert records.decode_block(records.encode_block(block)) == block
    assert records.decode_allocation(records.encode_allocation(held)) == held


@given(HANDLES, st.lists(st.ip_addresses()))
@settings(deadline=None)
def test_handles_round_trip(handle: Handle, addresses: list[object]) -> None:
    held = tuple(ip_address(str(address)) for address in addresses)

    assert records.decode_handle(records.encode_handle(handle, held)) == (handle, held)


@given(st.binary())
@settings(deadline=None)
def test_garbage_is_an_error_of_the_datastore(value: bytes) -> None:
    for decode in (
        records.decode_pool,
        records.decode_block,
        records.decode_allocation,
        records.decode_handle,
    ):
        with pytest.raises(DatastoreError):
            decode(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(
            records.encode_pool(POOL),
            b'{"name":"default","cidr":"10.0.0.0/24","blockSize":26,"reserved":[]}',
            id="pool",
        ),
        pytest.param(
            records.encode_block(BLOCK),
            b'{"cidr":"10.0.0.64/26","pool":"default","node":"n1","fresh":0,"released":[],"sequence":0}',
            id="block",
        ),
        pytest.param(
            records.encode_allocation(allocation(1, "10.0.0.65")),
            b'{"address":"10.0.0.65","block":"10.0.0.64/26","pool":"default","node":"n1",'
            b'"handle":{"container_id":"c1","interface":"eth0"},'
            b'"pod":{"namespace":"default","name":"web-1","uid":"uid-1"},'
            b'"netns":"/run/netns/p1","assignedAt":1000,"sequence":1}',
            id="allocation",
        ),
        pytest.param(
            records.encode_handle(Handle("c1", "eth0"), (ip_address("10.0.0.65"),)),
            b'{"handle":{"container_id":"c1","interface":"eth0"},"addresses":["10.0.0.65"]}',
            id="handle",
        ),
    ],
)
def test_layout_is_that_of_the_schema_version(value: bytes, expected: bytes) -> None:
    """What lies in people's datastores: a change here needs a new schema version and a migration."""
    assert value == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        pytest.param(records.pool_key("default"), "pools/default", id="pool"),
        pytest.param(records.block_key("default", BLOCK.network), "blocks/default/10.0.0.64-26", id="block"),
        pytest.param(records.open_key(BLOCK), "open/n1/default/00000000000/10.0.0.64-26", id="open, new"),
        pytest.param(
            records.open_key(Block(BLOCK.network, "default", "n1", 64, (Released(3, 1_700_000_000),))),
            "open/n1/default/01700000000/10.0.0.64-26",
            id="open, used",
        ),
        pytest.param(records.open_key(Block(BLOCK.network, "default", "n1", 64)), None, id="full"),
        pytest.param(
            records.allocation_key(ip_address("10.0.0.65")), "allocations/10.0.0.65", id="allocation"
        ),
        pytest.param(records.handle_key(Handle("c1", "eth0")), "handles/c1/eth0", id="handle"),
    ],
)
def test_keys(key: str | None, expected: str | None) -> None:
    assert key == expected
