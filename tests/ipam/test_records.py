"""How values lie in a store."""

from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipam import keys, records
from ipam.errors import DatastoreError
from ipam.model import Allocation, Block, Handle, Lent, PodRef, Pool, Released
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
    withheld=st.lists(COUNTS).map(tuple),
    lent=st.lists(st.builds(Lent, COUNTS, st.text())).map(tuple),
    sequence=COUNTS,
)
HANDLES = st.builds(Handle, st.text(), st.text(), st.text())
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
    network=st.text(),
    boot_id=st.text(),
    machine_id=st.text(),
    renewals=COUNTS,
    use=st.sampled_from(["pod", "tunnel"]),
)
POOLS = st.builds(
    Pool,
    name=st.text(),
    network=NETWORKS,
    block_size=COUNTS,
    reserved=st.lists(NETWORKS).map(tuple),
    disabled=st.booleans(),
    node_selector=st.text(),
    namespace_selector=st.text(),
    on_link=st.booleans(),
    nat_outgoing=st.booleans(),
    mode=st.sampled_from(["direct", "vxlan", "cross-subnet", "bgp"]),
)


@given(st.lists(POOLS, max_size=3).map(tuple), BLOCKS, ALLOCATIONS)
@settings(deadline=None)
def test_values_round_trip(pools: tuple[Pool, ...], block: Block, held: Allocation) -> None:
    assert records.decode_pools(records.encode_pools(pools)) == pools
    assert records.decode_block(records.encode_block(block)) == block
    assert records.decode_allocation(records.encode_allocation(held)) == held


@given(HANDLES, st.lists(st.ip_addresses()))
@settings(deadline=None)
def test_handles_round_trip(handle: Handle, addresses: list[object]) -> None:
    held = tuple(ip_address(str(address)) for address in addresses)

    assert records.decode_handle(records.encode_handle(handle, held)) == (handle, held)


DECODERS: tuple[Callable[[bytes], object], ...] = (
    records.decode_pools,
    records.decode_block,
    records.decode_allocation,
    records.decode_handle,
    lambda item: records.decode_table(item, dict[str, int]),
)


@given(st.binary())
@settings(deadline=None)
def test_garbage_is_an_error_of_the_datastore(value: bytes) -> None:
    """Whatever the bytes: a value, as an empty table is one, or the one error that says whose fault it is."""
    for decode in DECODERS:
        with suppress(DatastoreError):
            decode(value)


@pytest.mark.parametrize("value", [b"", b"\xff", b"{", b"7", b'["x"]', b'{"a":"b"}', b'[{"name":1}]'])
def test_what_is_no_record(value: bytes) -> None:
    for decode in DECODERS:
        with pytest.raises(DatastoreError):
            decode(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(
            records.encode_pools((POOL,)),
            b'[{"name":"default","cidr":"10.0.0.0/24","blockSize":26,"reserved":[],"disabled":false,'
            b'"nodeSelector":"","namespaceSelector":"","onLink":false,"natOutgoing":false,"mode":"direct"}]',
            id="pools",
        ),
        pytest.param(
            records.encode_block(BLOCK),
            b'{"cidr":"10.0.0.64/26","pool":"default","node":"n1","fresh":0,"released":[],"withheld":[],'
            b'"lent":[],"sequence":0}',
            id="block",
        ),
        pytest.param(
            records.encode_block(
                Block(BLOCK.network, "default", "n1", 4, (Released(3, 9),), (0,), (Lent(2, "n2"),), 7)
            ),
            b'{"cidr":"10.0.0.64/26","pool":"default","node":"n1","fresh":4,"released":[[3,9]],"withheld":[0],'
            b'"lent":[[2,"n2"]],"sequence":7}',
            id="block, used",
        ),
        pytest.param(
            records.encode_allocation(allocation(1, "10.0.0.65")),
            b'{"address":"10.0.0.65","block":"10.0.0.64/26","pool":"default","node":"n1",'
            b'"handle":{"container_id":"c1","interface":"eth0","node":"n1"},'
            b'"pod":{"namespace":"default","name":"web-1","uid":"uid-1"},'
            b'"netns":"/run/netns/p1","assignedAt":1000,"sequence":1,"network":"","bootId":"",'
            b'"machineId":"","renewals":0,"use":"pod"}',
            id="allocation",
        ),
        pytest.param(
            records.encode_handle(Handle("c1", "eth0", "n1"), (ip_address("10.0.0.65"),)),
            b'{"handle":{"container_id":"c1","interface":"eth0","node":"n1"},"addresses":["10.0.0.65"]}',
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
        pytest.param(keys.POOLS, "pools", id="pools"),
        pytest.param(keys.block_key("default", BLOCK.network), "blocks/default/10.0.0.64-26", id="block"),
        pytest.param(keys.own_key("n1", "default"), "nodes/n1/default", id="a node's blocks"),
        pytest.param(keys.word_key("default", 1, 255), "claims/default/1/ff", id="claims"),
        pytest.param(keys.spare_key(BLOCK), "spare/default/00000000000/10.0.0.64-26", id="spare, new"),
        pytest.param(
            keys.spare_key(Block(BLOCK.network, "default", "n1", 64, (Released(3, 1_700_000_000),))),
            "spare/default/01700000000/10.0.0.64-26",
            id="spare, used",
        ),
        pytest.param(keys.spare_key(Block(BLOCK.network, "default", "n1", 64)), None, id="full"),
        pytest.param(keys.allocation_key(ip_address("10.0.0.65")), "allocations/10.0.0.65", id="allocation"),
        pytest.param(keys.handle_key(Handle("c1", "eth0", "n1")), "handles/c1/eth0/n1", id="handle"),
    ],
)
def test_keys(key: str | None, expected: str | None) -> None:
    assert key == expected


@given(BLOCKS)
@settings(deadline=None)
def test_a_spare_key_names_its_block(block: Block) -> None:
    key = keys.spare_key(block)

    assert key is None or keys.decode_spare_key(key) == (block.idle_since_s, block.network)


@pytest.mark.parametrize("key", ["spare/default/x/10.0.0.0-26", "spare/default/1/x"])
def test_a_spare_key_of_others_is_an_error(key: str) -> None:
    with pytest.raises(DatastoreError):
        keys.decode_spare_key(key)


@pytest.mark.parametrize("word", [0, 1, (1 << 64) - 1])
def test_words_round_trip(word: int) -> None:
    assert records.decode_word(records.encode_word(word)) == word


def test_a_word_of_others_is_an_error() -> None:
    with pytest.raises(DatastoreError):
        records.decode_word(b"word")


def test_pools_of_before_nat_outgoing() -> None:
    """A record without the field is of a pool that is not masqueraded."""
    old = records.encode_pools((POOL,)).replace(b',"natOutgoing":false', b"")

    assert records.decode_pools(old) == (POOL,)
