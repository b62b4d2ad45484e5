"""The indexes follow the blocks: whatever happened to them, they say what the blocks say."""

from functools import partial

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipam import transact
from ipam.block_index import best_own, build_indexes, count_own, update_index
from ipam.model import Block, Network, Pool, Released
from ipam.stores.memory import MemoryStore
from tests.ipam.values import network

POOL = Pool("default", network("10.0.0.0/22"), 30)
NEW = Block(network("10.0.0.4/30"), "default", "n1", 1)
FULL = msgspec.structs.replace(NEW, fresh=4)
USED = msgspec.structs.replace(FULL, released=(Released(2, 1_700_000_000),))
FAR = Block(network("10.0.2.0/30"), "default", "n1", 4, (Released(0, 1_600_000_000),))


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        pytest.param([], {}, id="none"),
        pytest.param(
            [NEW],
            {
                "nodes/n1/default": b'{"140000":[1,0]}',
                "nodes/n1/default/140000": b'{"10.0.0.4/30":0}',
                "spare/default/00000000000/10.0.0.4-30": b"n1",
                "claims/default/0/0": b"0000000000000002",
            },
            id="never used",
        ),
        pytest.param(
            [FULL],
            {
                "nodes/n1/default": b'{"140000":[1,null]}',
                "nodes/n1/default/140000": b'{"10.0.0.4/30":null}',
                "claims/default/0/0": b"0000000000000002",
            },
            id="full",
        ),
        pytest.param(
            [FAR, USED],
            {
                "nodes/n1/default": b'{"140000":[1,1700000000],"140004":[1,1600000000]}',
                "nodes/n1/default/140000": b'{"10.0.0.4/30":1700000000}',
                "nodes/n1/default/140004": b'{"10.0.2.0/30":1600000000}',
                "spare/default/01600000000/10.0.2.0-30": b"n1",
                "spare/default/01700000000/10.0.0.4-30": b"n1",
                "claims/default/0/0": b"0000000000000002",
                "claims/default/0/2": b"0000000000000001",
            },
            id="two segments",
        ),
        pytest.param(
            [msgspec.structs.replace(NEW, node="", pool="gone")],
            {
                "nodes//gone": b'{"140000":[1,0]}',
                "nodes//gone/140000": b'{"10.0.0.4/30":0}',
                "spare/gone/00000000000/10.0.0.4-30": b"",
            },
            id="of no node, in a pool that is not known",
        ),
    ],
)
def test_layout(blocks: list[Block], expected: dict[str, bytes]) -> None:
    """What lies in people's datastores: a change here needs a new schema version and a migration."""
    assert build_indexes((POOL,), blocks) == expected


NETWORKS = [network(f"10.0.{third}.{fourth}/30") for third in (0, 2) for fourth in range(0, 256, 52)]
STATES = st.one_of(
    st.none(),
    st.builds(
        lambda node, fresh, since: (node, fresh, () if since is None else (Released(0, since),)),
        st.sampled_from(["n1", "n2", ""]),
        st.integers(1, 4),
        st.one_of(st.none(), st.integers(1, 9)),
    ),
)


@given(st.lists(st.tuples(st.sampled_from(NETWORKS), STATES), max_size=40))
@settings(deadline=None)
def test_the_state_does_not_depend_on_the_way_there(
    changes: list[tuple[Network, tuple[str, int, tuple[Released, ...]] | None]],
) -> None:
    store, blocks = MemoryStore(), dict[Network, Block]()
    for where, state in changes:
        old = blocks.pop(where, None)
        new = None if state is None else Block(where, "default", *state)
        transact.transact(store, partial(update_index, old=old, new=new))
        if new is not None:
            blocks[where] = new

    ordered = sorted(blocks.values(), key=lambda block: block.network.network_address)
    found = dict(transact.read(store, lambda reader: reader.scan("")))
    assert found == build_indexes((), ordered) == build_indexes((), ordered[::-1])
    for node in ("n1", "n2", ""):
        own = [block for block in ordered if block.node == node]
        idle = [block for block in own if block.idle_since_s is not None]
        best = min(idle, key=lambda block: block.idle_since_s or 0, default=None)
        chosen = transact.read(store, partial(best_own, node=node, pool="default"))
        count = transact.read(store, partial(count_own, node=node, pool="default"))
        assert (chosen, count) == (best and best.network, len(own))
