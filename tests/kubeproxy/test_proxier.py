"""The laws of the reconciler, on the fake table and on the kernel."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubeproxy.desired import DesiredElements
from kubeproxy.layout import FRONTENDS, HAIRPINS, SLOTS, TABLE, read_services
from kubeproxy.pool_numbers import PoolNumbers
from kubeproxy.proxier import FamilyProxier, Proxier
from kubeproxy.skeleton import build_skeleton
from nodeplane.datapath import netns
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.datapath.nft.kernel import KernelTable, TableEdge
from nodeplane.datapath.nft.table import ElementChange
from nodeplane.errors import KernelError
from nodeplane.kube.objects import EndpointPort, Object, ObjectKey, ServicePort
from nodeplane.kube.source import Batch
from nodeplane.kube.store import diff_objects
from tests.kubeproxy.objects import UNREADY, additions, endpoint, endpoint_slice, service
from tests.netns_fixture import namespace, run_in

WEB = service()
WEB_SLICE = endpoint_slice(endpoint("10.244.0.1"), endpoint("10.244.0.2", node="n2"))
EMPTY = service("empty", "10.96.0.2")


def proxier_on(edge: TableEdge) -> Proxier:
    return Proxier("n1", [FamilyProxier("ip", edge)])


def services_in(edge: TableEdge) -> dict[str, list[str]]:
    state = edge.read(build_skeleton("ip"))
    assert state is not None
    return {
        str(frontend): [str(endpoint) for endpoint in endpoints]
        for frontend, (_, endpoints) in read_services(state.elements).items()
    }


def elements_in(edge: TableEdge) -> dict[str, dict[bytes, bytes]]:
    state = edge.read(build_skeleton("ip"))
    assert state is not None
    return {name: state.elements[name] for name in (FRONTENDS, SLOTS, HAIRPINS)}


def test_publishes() -> None:
    """A service with endpoints leads to them, one without is there to be refused."""
    edge = FakeTable()
    proxier = proxier_on(edge)
    proxier.take(additions(WEB, WEB_SLICE, EMPTY))

    assert proxier.sync(full=True).elements == 5
    assert services_in(edge) == {
        "TCP 10.96.0.1:80": ["10.244.0.1:8080", "10.244.0.2:8080"],
        "TCP 10.96.0.2:80": [],
    }
    assert edge.batches == 1


def test_nothing_before_the_snapshot() -> None:
    """Taking nothing in writes nothing (law 4)."""
    edge = FakeTable()
    proxier_on(edge)

    assert (edge.read(build_skeleton("ip")), edge.batches) == (None, 0)


def test_restart_writes_nothing() -> None:
    """A new process over a correct table is silent (law 2)."""
    edge = FakeTable()
    for _ in range(2):
        proxier = proxier_on(edge)
        proxier.take(additions(WEB, WEB_SLICE, EMPTY))
        proxier.sync(full=True)

    assert edge.batches == 1


def test_restart_sweeps_what_is_stale() -> None:
    """A restart over the table of another time keeps what is right and changes the rest."""
    edge = FakeTable()
    old = proxier_on(edge)
    old.take(additions(WEB, WEB_SLICE, EMPTY))
    old.sync(full=True)
    new = proxier_on(edge)
    new.take(additions(WEB, WEB_SLICE))

    assert new.sync(full=True).elements == 1
    assert list(services_in(edge)) == ["TCP 10.96.0.1:80"]


def test_change_is_one_small_batch() -> None:
    """One endpoint more: a slot, and the frontend's new class, whatever else there is (law 5)."""
    edge = FakeTable()
    proxier = proxier_on(edge)
    others = [service(f"other-{number}", f"10.97.0.{number}") for number in range(1, 200)]
    proxier.take(additions(WEB, WEB_SLICE, *others))
    proxier.sync(full=True)
    grown = endpoint_slice(*WEB_SLICE.endpoints, endpoint("10.244.0.3"))
    before = elements_in(edge)
    proxier.take(diff_objects({WEB_SLICE.key: WEB_SLICE}, {grown.key: grown}))

    assert (
        proxier.sync(full=False).elements == 8
    )  # slots: 2 go, 3 come; the frontend goes and comes; a hairpin
    assert edge.batches == 2
    after = elements_in(edge)
    assert {key: data for key, data in before[FRONTENDS].items() if after[FRONTENDS][key] == data}.keys() == (
        before[FRONTENDS].keys()
        - {next(key for key in before[FRONTENDS] if key[:4] == bytes((10, 96, 0, 1)))}
    )


def test_conflict_has_one_winner() -> None:
    """Of two Services with one address and port the first by name has it, in whatever order they came."""
    mine, theirs = service("a", "10.96.0.9"), service("b", "10.96.0.9")
    backing = endpoint_slice(endpoint("10.244.0.1"), name="a-1", of="a")
    edge = FakeTable()
    proxier = proxier_on(edge)
    proxier.take(additions(theirs))
    proxier.sync(full=True)
    proxier.take(additions(mine, backing))
    proxier.sync(full=False)

    assert services_in(edge) == {"TCP 10.96.0.9:80": ["10.244.0.1:8080"]}

    proxier.take(diff_objects({mine.key: mine}, {}))
    proxier.sync(full=False)
    assert services_in(edge) == {"TCP 10.96.0.9:80": []}


def test_refused_batch_is_followed_by_a_resync() -> None:
    """When the kernel is not what we believe, the sync fails and a full one heals it."""
    edge = FakeTable()
    proxier = proxier_on(edge)
    proxier.take(additions(WEB, WEB_SLICE))
    proxier.sync(full=True)
    edge.update(
        proxier._families[0].skeleton, {FRONTENDS: ElementChange(remove=list(elements_in(edge)[FRONTENDS]))}
    )
    proxier.take(diff_objects({WEB.key: WEB}, {}))

    assert proxier.is_disturbed()
    with pytest.raises(KernelError):
        proxier.sync(full=False)

    proxier.sync(full=True)
    assert services_in(edge) == {}
    assert not proxier.is_disturbed()


PORTS = (ServicePort(port=80, name="http"), ServicePort(port=53, name="dns", protocol="UDP"))
BACKING = (EndpointPort("http", "TCP", 8080), EndpointPort("dns", "UDP", 5353))
STATES: list[tuple[Object, ...]] = [
    (),
    (WEB, WEB_SLICE),
    (WEB,),
    (service("web", "10.96.0.1", ports=PORTS), endpoint_slice(endpoint("10.244.0.1"), ports=BACKING)),
    (service("web", "10.96.0.7"), WEB_SLICE, EMPTY),
    (WEB, endpoint_slice(endpoint("10.244.0.1", UNREADY), endpoint("10.244.0.9"))),
    (WEB, endpoint_slice(*(endpoint(f"10.244.0.{number}") for number in range(1, 20)))),
    (WEB, endpoint_slice(*(endpoint(f"10.244.0.{number}") for number in range(3, 23)))),
    (service("a", "10.96.0.1"), WEB, WEB_SLICE, endpoint_slice(endpoint("10.244.0.1"), name="a-1", of="a")),
    tuple(service(f"s{number}", f"10.96.1.{number}") for number in range(12)),
]


def as_state(items: tuple[Object, ...]) -> dict[ObjectKey, Object]:
    return {item.key: item for item in items}


def walk(proxier: Proxier, path: list[tuple[Object, ...]]) -> None:
    now: dict[ObjectKey, Object] = {}
    for number, items in enumerate(path):
        batch: Batch = diff_objects(now, as_state(items))
        now = as_state(items)
        proxier.take(batch)
        proxier.sync(full=number == 0)


def fresh_start(
    items: tuple[Object, ...], numbers: PoolNumbers | None = None
) -> dict[str, dict[bytes, bytes]]:
    edge = FakeTable()
    proxier = proxier_on(edge)
    proxier._families[0].desired = DesiredElements(numbers)
    proxier.take(diff_objects({}, as_state(items)))
    proxier.sync(full=True)
    return elements_in(edge)


@given(st.lists(st.sampled_from(STATES), min_size=1), st.sampled_from([4, 24]))
@settings(deadline=None)
def test_path_does_not_matter(path: list[tuple[Object, ...]], bits: int) -> None:
    """The table depends on the last objects alone (law 1), also where pool numbers collide."""
    edge = FakeTable()
    proxier = proxier_on(edge)
    proxier._families[0].desired = DesiredElements(PoolNumbers(bits))
    walk(proxier, path)

    assert elements_in(edge) == fresh_start(path[-1], PoolNumbers(bits))


@contextmanager
def kernel_table() -> Iterator[KernelTable]:
    with namespace() as ns, netns.inside(ns), KernelTable("ip", TABLE) as edge:
        yield edge


@pytest.mark.netns
@given(st.lists(st.sampled_from(STATES), min_size=1, max_size=8))
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
def test_path_does_not_matter_to_the_kernel(path: list[tuple[Object, ...]]) -> None:
    """The same on the real thing."""
    with kernel_table() as edge:
        walk(proxier_on(edge), path)

        assert elements_in(edge) == fresh_start(path[-1])


@pytest.mark.netns
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param("flush ruleset", id="everything gone"),
        pytest.param(f"delete table ip {TABLE}", id="table gone"),
        pytest.param(f"flush chain ip {TABLE} services", id="rules gone"),
        pytest.param(f"flush map ip {TABLE} slots", id="elements gone"),
        pytest.param(f"add element ip {TABLE} hairpins {{ 1.1.1.1 . 1.1.1.1 }}", id="element added"),
        pytest.param(f"flush map ip {TABLE} classes", id="fixed elements gone"),
        pytest.param(f"add element ip {TABLE} frontends {{ * : ff00:0 }}", id="catch-all added"),
        pytest.param(
            f"add chain ip {TABLE} filter-output {{ type filter hook output priority 0; policy drop; }}",
            id="policy changed",
        ),
        pytest.param(f"add table ip {TABLE} {{ flags dormant; }}", id="made dormant"),
    ],
)
def test_damage_is_noticed_and_repaired(damage: str) -> None:
    """What others do to our table is undone (law 3)."""
    with namespace() as ns, netns.inside(ns), KernelTable("ip", TABLE) as edge:
        proxier = proxier_on(edge)
        proxier.take(additions(WEB, WEB_SLICE, EMPTY))
        proxier.sync(full=True)
        right = elements_in(edge)
        assert not proxier.is_disturbed()
        assert run_in(ns, "nft", damage).returncode == 0

        assert proxier.is_disturbed()
        proxier.sync(full=True)
        assert elements_in(edge) == right
        assert not proxier.is_disturbed()


@pytest.mark.netns
def test_kernel_restart_writes_nothing() -> None:
    """A new process reads the kernel, finds it right and writes nothing: no transaction at all (law 2)."""
    with kernel_table() as edge:
        first = proxier_on(edge)
        first.take(additions(WEB, WEB_SLICE, EMPTY))
        first.sync(full=True)
        generation = edge.generation()
        second = proxier_on(edge)
        second.take(additions(WEB, WEB_SLICE, EMPTY))

        assert second.sync(full=True).elements == 0
        assert edge.generation() == generation
