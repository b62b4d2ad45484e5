"""Changes one after the other lead nobody to where they never should."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubeproxy.desired.desired_elements import DesiredElements
from kubeproxy.desired.pools import PoolNumbers
from kubeproxy.family_proxier import FamilyProxier
from kubeproxy.proxier import Proxier
from kubeproxy.rules import layout as at
from kubeproxy.rules.change_order import Changes, order_changes
from kubeproxy.rules.layout import decode_slot, decode_value, encode_slot, encode_value
from kubeproxy.rules.pool_value import DROP, REJECT, WITHOUT_KIND
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.datapath.nft.table import ElementChange
from nodeplane.kube.store import diff_objects
from tests.kubeproxy.object_states import State, states

Content = dict[str, dict[bytes, bytes]]

F, G = b"frontend F", b"frontend G"
V, W = encode_value(5), encode_value(6)
V0, W0 = encode_slot(5, 0), encode_slot(6, 0)
POD, OTHER = b"pod", b"other"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param(
            {at.FRONTENDS: ElementChange(add={F: V}), at.SLOTS: ElementChange(add={V0: POD})},
            [{at.SLOTS: ElementChange(add={V0: POD})}, {at.FRONTENDS: ElementChange(add={F: V})}],
            id="a service comes",
        ),
        pytest.param(
            {
                at.SLOTS: ElementChange([V0]),
                at.FRONTENDS: ElementChange([F]),
                at.CLUSTER_IPS: ElementChange([G]),
            },
            [
                {at.CLUSTER_IPS: ElementChange([G])},
                {at.FRONTENDS: ElementChange([F])},
                {at.SLOTS: ElementChange([V0])},
            ],
            id="a service goes",
        ),
        pytest.param(
            {at.CLUSTER_IPS: ElementChange(add={G: b""}), at.NODE_PORTS: ElementChange(add={F: V})},
            [{at.NODE_PORTS: ElementChange(add={F: V})}, {at.CLUSTER_IPS: ElementChange(add={G: b""})}],
            id="an address is known after its frontends",
        ),
        pytest.param(
            {at.FRONTENDS: ElementChange([F], {F: W}), at.SLOTS: ElementChange([V0], {W0: POD})},
            [
                {at.SLOTS: ElementChange(add={W0: POD})},
                {at.FRONTENDS: ElementChange([F], {F: W})},
                {at.SLOTS: ElementChange([V0])},
            ],
            id="a pool moves",
        ),
        pytest.param(
            {
                at.FRONTENDS: ElementChange([F], {F: W, G: V}),
                at.SLOTS: ElementChange([V0], {V0: OTHER, W0: POD}),
            },
            [
                {at.FRONTENDS: ElementChange([F], {F: encode_value(DROP)})},
                {at.SLOTS: ElementChange(add={W0: POD})},
                {at.SLOTS: ElementChange([V0], {V0: OTHER})},
                {at.FRONTENDS: ElementChange(add={G: V})},
                {at.FRONTENDS: ElementChange([F], {F: W})},
            ],
            id="a pool's value changes hands",
        ),
        pytest.param(
            {
                at.FRONTENDS: ElementChange([F], {G: V}),
                at.SLOTS: ElementChange([V0], {V0: OTHER}),
            },
            [
                {at.FRONTENDS: ElementChange([F])},
                {at.SLOTS: ElementChange([V0], {V0: OTHER})},
                {at.FRONTENDS: ElementChange(add={G: V})},
            ],
            id="the value of a pool that goes is taken",
        ),
        pytest.param(
            {at.SOURCE_RANGES: ElementChange([b"wide"], {b"narrow": b""})},
            [
                {at.SOURCE_RANGES: ElementChange([b"wide"])},
                {at.SOURCE_RANGES: ElementChange(add={b"narrow": b""})},
            ],
            id="ranges must not overlap",
        ),
    ],
)
def test_order(changes: Changes, expected: list[Changes]) -> None:
    """What is led to comes before what leads there, and goes after it."""
    assert order_changes(changes) == expected


class _Recording(FakeTable):
    """A table that keeps what it was after each transaction."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[Content] = []

    def _commit(self) -> None:
        super()._commit()
        if self._state is not None:
            self.history.append({name: dict(part) for name, part in self._state.elements.items()})


def endpoints(content: Content) -> dict[tuple[str, bytes], frozenset[bytes] | None]:
    """Return where each frontend leads; None where clients are dropped or refused."""
    pools: dict[int, set[bytes]] = {}
    for key, data in content[at.SLOTS].items():
        pools.setdefault(decode_slot(key)[0], set()).add(data)
    for key, member in content[at.MEMBERS].items():
        pools.setdefault(decode_slot(key)[0], set()).add(content[at.MEMBER_ADDRESSES].get(member, b""))
    found: dict[tuple[str, bytes], frozenset[bytes] | None] = {}
    for name in (at.FRONTENDS, at.NODE_PORTS):
        for key, data in content[name].items():
            value = decode_value(data) & WITHOUT_KIND
            found[name, key] = (
                None
                if value in {DROP, REJECT}
                else frozenset(pools.get(value, ())) | _local(content, value, pools)
            )
    return found


def _local(content: Content, value: int, pools: dict[int, set[bytes]]) -> frozenset[bytes]:
    local = content[at.LOCAL_POOLS].get(encode_value(value))
    return frozenset(pools.get(decode_value(local) & WITHOUT_KIND, ())) if local else frozenset()


@given(st.lists(states(), min_size=2, max_size=3))
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
def test_every_step_is_safe(path: list[State]) -> None:
    """However small the parts: no frontend leads to a pool without endpoints, or to others' endpoints."""
    edge = _Recording()
    family = FamilyProxier("ip", edge)
    family.desired = DesiredElements(PoolNumbers(4, 4))
    proxier = Proxier("n1", [family])
    now: State = {}
    for number, state in enumerate(path):
        proxier.take(diff_objects(now, state))
        now = state
        if not number:
            proxier.sync(full=True)
            continue
        start = len(edge.history) - 1
        # A few elements in a transaction; of tables with Maglev's thousands of slots, a hundred.
        edge.limit_bytes = 400 if sum(map(len, edge.history[-1].values())) < 500 else 4000
        proxier.sync(full=False)
        edge.limit_bytes = None
        assert proxier.sync(full=True).transactions == 0
        assert_safe(edge.history[start:])


def assert_safe(history: list[Content]) -> None:
    before, after = endpoints(history[0]), endpoints(history[-1])
    for content in history:
        for frontend, found in endpoints(content).items():
            if found is not None:
                allowed = (before.get(frontend) or frozenset()) | (after.get(frontend) or frozenset())
                assert found
                assert found <= allowed
