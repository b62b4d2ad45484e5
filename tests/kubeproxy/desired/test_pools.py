"""Pools: which there are, how each chooses, and the elements of its slots."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeproxy.desired.annotations import DEFAULT, Balancing
from kubeproxy.desired.endpoints import Usable
from kubeproxy.desired.pools import PoolName, PoolNumbers, PoolSlots, Shape, build_contents
from kubeproxy.desired.probing import ProbingTable
from kubeproxy.desired.service_port import PortName, Publication, ServicePort
from kubeproxy.rules import layout
from kubeproxy.rules.layout import AFFINE_POOLS, MEMBER_ADDRESSES, MEMBERS, MEMBERS_ALIVE, SLOTS
from kubeproxy.rules.pool_value import (
    AFFINE_POOL_MASK,
    FIRST_FLOW_HASH,
    FIRST_SOURCE_HASH,
    MEMBER_BITS,
    Kind,
    describe,
)
from kubeproxy.rules.sizes import FALLBACK, MAX_MEMBERS, MAX_SLOTS
from tests.kubeproxy.objects import at

NAME = PortName("default", "web", "http", "TCP")
ALL, HERE = PoolName(NAME, is_local=False), PoolName(NAME, is_local=True)
A, B, C = at("10.244.0.1"), at("10.244.0.2"), at("10.244.0.3")
ENDPOINTS = [at(f"10.244.{number >> 8}.{number & 255}") for number in range(8000)]
VIP = Publication("frontends", b"", Kind.CLUSTER_IP)
LOCAL_PORT = Publication("node-ports", b"", Kind.EXTERNAL_LOCAL)


def port(
    *publications: Publication,
    cluster: tuple[bytes, ...] = (A, B),
    local: tuple[bytes, ...] = (A,),
    internal_local: bool = False,
    timeout_s: int = 0,
    balancing: Balancing = DEFAULT,
    pods: tuple[tuple[bytes, str], ...] = (),
) -> ServicePort:
    return ServicePort(
        NAME,
        publications or (VIP,),
        Usable(cluster, local),
        is_internal_local=internal_local,
        affinity_timeout_s=timeout_s,
        balancing=balancing,
        pods=pods,
    )


def described(item: ServicePort) -> dict[bool, tuple[str, tuple[bytes, ...]]]:
    return {
        name.is_local: (describe(content.shape.value(0)), content.entries)
        for name, content in build_contents(item).items()
    }


MAGLEV = Balancing("maglev")


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        pytest.param(port(), {False: ("random of 2", (A, B))}, id="cluster"),
        pytest.param(port(cluster=(), local=()), {}, id="no endpoints"),
        pytest.param(port(internal_local=True), {True: ("random of 1", (A,))}, id="internal Local"),
        pytest.param(port(internal_local=True, local=()), {}, id="internal Local, none here"),
        pytest.param(
            port(VIP, LOCAL_PORT),
            {False: ("random of 2", (A, B)), True: ("random of 1", (A,))},
            id="external Local",
        ),
        pytest.param(port(timeout_s=7), {False: ("random of 2, kept 10 s", (A, B))}, id="affinity"),
        pytest.param(
            port(timeout_s=7, balancing=MAGLEV),
            {False: ("random of 2, kept 10 s", (A, B))},
            id="affinity wins",
        ),
        pytest.param(
            port(balancing=MAGLEV), {False: ("hash of client and port, 4093 slots", (A, B))}, id="maglev"
        ),
        pytest.param(
            port(balancing=Balancing("source-hash")),
            {False: ("hash of the client, 4093 slots", (A, B))},
            id="source-hash",
        ),
    ],
)
def test_contents(item: ServicePort, expected: dict[bool, tuple[str, tuple[bytes, ...]]]) -> None:
    """A port has the pools that its policies lead to, chosen from as it says."""
    assert described(item) == expected


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        pytest.param({"web-1": 3}, (A, A, A, B), id="by pod"),
        pytest.param({"10.244.0.2": 2}, (A, B, B), id="by address"),
        pytest.param({"web-1": 2, "10.244.0.1": 3}, (A, A, B), id="the pod's name counts"),
        pytest.param({"web-1": 4, "10.244.0.2": 6}, (A, A, B, B, B), id="as few shares as can be"),
        pytest.param({"web-1": 0}, (B,), id="weight 0"),
        pytest.param({"web-1": 0, "10.244.0.2": 0}, (), id="all 0"),
        pytest.param({"nobody": 5}, (A, B), id="nobody's"),
    ],
)
def test_weights(weights: dict[str, int], expected: tuple[bytes, ...]) -> None:
    """Weights are shares."""
    item = port(
        balancing=Balancing(weights=tuple(sorted(weights.items()))), pods=((A, "web-1"), (B, "web-2"))
    )

    assert [entries for _, entries in described(item).values()] == ([expected] if expected else [])


@pytest.mark.parametrize(("timeout_s", "most"), [(0, MAX_SLOTS), (10, MAX_MEMBERS)])
def test_weights_beyond_a_pool(timeout_s: int, most: int) -> None:
    """Shares beyond what a pool holds get coarser, all alike: nobody is left out."""
    endpoints = tuple(ENDPOINTS[:300])
    weights = {f"web-{number}": 256 - number % 2 for number in range(300)}
    pods = tuple((endpoint, f"web-{number}") for number, endpoint in enumerate(endpoints))
    item = port(
        cluster=endpoints,
        timeout_s=timeout_s,
        balancing=Balancing(weights=tuple(sorted(weights.items()))),
        pods=pods,
    )
    ((_, entries),) = described(item).values()
    shares = Counter(entries)

    assert 0.9 * most <= len(entries) <= most
    assert shares.keys() == set(endpoints)
    assert max(shares.values()) - min(shares.values()) <= 1


def test_endpoints_beyond_a_pool() -> None:
    """Of more endpoints than a pool holds some are left out."""
    (content,) = build_contents(port(cluster=tuple(ENDPOINTS), timeout_s=10)).values()

    assert content.entries == tuple(ENDPOINTS[:MAX_MEMBERS])


NAMES = [PoolName(PortName("default", f"s{number}", "", "TCP"), bool(number % 2)) for number in range(8)]
SHAPES = st.sampled_from([None, Shape(1), Shape(2), Shape(1, 0)])


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), SHAPES), max_size=10))
@settings(deadline=None)
def test_numbers(path: list[dict[PoolName, Shape | None]]) -> None:
    """Numbers depend on which pools there are; who gets another one is told; each kind has its own."""

    def values(numbers: PoolNumbers) -> dict[PoolName, int]:
        return {name: numbers.value(name, shape) for name, shape in present.items()}

    numbers, fresh = PoolNumbers(3, 3), PoolNumbers(3, 3)
    present: dict[PoolName, Shape] = {}
    for state in path:
        now = {name: shape for name, shape in state.items() if shape}
        before = values(numbers)
        removed = {name: shape for name, shape in present.items() if now.get(name) != shape}
        added = {name: shape for name, shape in now.items() if present.get(name) != shape}
        present = now
        moved = numbers.update(added, removed)

        assert {name for name, value in values(numbers).items() if before.get(name) != value} <= moved
    fresh.update(present, {})

    assert values(numbers) == values(fresh)
    assert len(set(values(numbers).values())) == len(present)


def colliding() -> list[bytes]:
    """Return endpoints that meet one another in the space of members, in groups of two and more."""
    homes: dict[int, list[bytes]] = {}
    for endpoint in ENDPOINTS[:3000]:
        table: ProbingTable[bytes] = ProbingTable(1 << MEMBER_BITS, bytes)
        table.update([endpoint], ())
        homes.setdefault(table[endpoint], []).append(endpoint)
    groups = [group for group in homes.values() if len(group) > 2]
    return [endpoint for group in groups[:4] for endpoint in group]


COLLIDING = colliding()
SHAPES_OF_POOLS = [
    pytest.param(Shape(15), id="16 slots"),
    pytest.param(Shape(16), id="24 slots"),
    pytest.param(Shape(FIRST_FLOW_HASH), id="flow hash"),
    pytest.param(Shape(FIRST_SOURCE_HASH), id="source hash"),
    pytest.param(Shape(6, 3), id="affinity, 12 slots"),
    pytest.param(Shape(8, 3), id="affinity, 24 slots"),
]


@pytest.mark.parametrize("shape", SHAPES_OF_POOLS)
@given(path=st.lists(st.sets(st.sampled_from(COLLIDING), max_size=12), min_size=1, max_size=6))
@settings(deadline=None, max_examples=40)
def test_slots(shape: Shape, path: list[set[bytes]]) -> None:
    """Changes lead to the elements of a fresh start, and every element leads to an endpoint that there is."""
    value = shape.value(77)
    slots, fresh = PoolSlots(value, shape), PoolSlots(value, shape)
    elements: dict[tuple[str, bytes], bytes] = {}
    for endpoints in path:
        for map_name, key, data in slots.update(tuple(sorted(endpoints))):
            elements.pop((map_name, key), None)
            if data is not None:
                elements[map_name, key] = data
    last = path[-1]

    assert elements == {
        (map_name, key): data for map_name, key, data in fresh.update(tuple(sorted(last))) if data is not None
    }
    found: dict[str, dict[bytes, bytes]] = {}
    for (map_name, key), data in elements.items():
        found.setdefault(map_name, {})[key] = data
    addresses = found.get(MEMBER_ADDRESSES, {})
    if shape.is_affine:
        assert set(addresses.values()) == last
        assert found.get(MEMBERS_ALIVE, {}).keys() == addresses.keys()
        assert {addresses[member] for member in found.get(MEMBERS, {}).values()} == last
        assert {layout.decode_value(member) & AFFINE_POOL_MASK for member in addresses} <= {77}
        number, whole = layout.encode_value(77), layout.encode_value(value)
        assert found.get(AFFINE_POOLS, {}) == ({number: whole} if last else {})
    else:
        assert set(found.get(SLOTS, {}).values()) == last
    # Cleared, nothing is left.
    for map_name, key, data in slots.update(()):
        assert data is None
        elements.pop((map_name, key), None)
    assert elements == {}


def addresses(shape: Shape, *endpoints: bytes) -> dict[bytes, bytes | None]:
    """Return the members of a fresh pool with their addresses."""
    changes = PoolSlots(shape.value(7), shape).update(endpoints)
    return {key: data for name, key, data in changes if name == MEMBER_ADDRESSES}


def test_clients_stay_when_a_pool_grows() -> None:
    """A pool of another size or time-out has the same members: nobody is forgotten."""
    assert addresses(Shape(1, 3), A, B).items() < addresses(Shape(2, 5), A, B, C).items()


def test_fallback_of_members() -> None:
    """A pool with empty slots has a fallback, a member too."""
    shape = Shape(4, 3)
    written = {
        (name, key): data
        for name, key, data in PoolSlots(shape.value(7), shape).update((A, B, C, *ENDPOINTS[9:11]))
    }

    member = written[MEMBERS, layout.encode_slot(shape.value(7), FALLBACK)]
    assert member is not None
    assert written[MEMBER_ADDRESSES, member] == A
