"""From stores of objects to one table for each family: what is published, swept and made good."""

import errno
from collections.abc import Mapping
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubeproxy.family_proxier import FamilyProxier
from kubeproxy.proxier import Proxier
from kubeproxy.rules.addresses import FAMILIES
from kubeproxy.rules.layout import (
    FRONTENDS,
    SOURCE_RANGES,
)
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.datapath.nft.table import ElementChange, Table, TableState
from nodeplane.errors import KernelError, kernel_error
from nodeplane.kube.objects import Object
from nodeplane.kube.store import diff_objects
from tests.kubeproxy.object_states import State, states
from tests.kubeproxy.objects import additions, endpoint, endpoint_slice, node, service
from tests.kubeproxy.proxiers import (
    EMPTY,
    SKELETONS,
    WEB,
    WEB_SLICE,
    assert_nft_prints,
    elements_in,
    fakes,
    fresh_start,
    ipv4,
    kernel_tables,
    proxier_on,
    services_in,
    walk,
)


def test_publishes() -> None:
    """A service with endpoints leads to them, one without is there to be refused."""
    edge = FakeTable()
    proxier = proxier_on(ipv4(edge))
    proxier.take(additions(WEB, WEB_SLICE, EMPTY))

    # Two frontends and their two addresses, two slots, one hairpin.
    assert proxier.sync(full=True).elements == 7
    assert services_in(edge) == {
        "TCP 10.96.0.1:80": ["10.244.0.1:8080", "10.244.0.2:8080"],
        "TCP 10.96.0.2:80": [],
    }
    assert edge.batches == 1


def test_nothing_before_the_snapshot() -> None:
    """Taking nothing in writes nothing (law 4)."""
    edge = FakeTable()
    proxier_on(ipv4(edge))

    assert (edge.read(SKELETONS["ip"]), edge.batches) == (None, 0)


def test_restart_sweeps_what_is_stale() -> None:
    """A restart over the table of another time keeps what is right and changes the rest."""
    edge = FakeTable()
    old = proxier_on(ipv4(edge))
    old.take(additions(WEB, WEB_SLICE, EMPTY))
    old.sync(full=True)
    new = proxier_on(ipv4(edge))
    new.take(additions(WEB, WEB_SLICE))

    assert new.sync(full=True).elements == 2
    assert list(services_in(edge)) == ["TCP 10.96.0.1:80"]


def test_conflict_has_one_winner() -> None:
    """Of two Services with one address and port the first by name has it, in whatever order they came."""
    mine, theirs = service("a", "10.96.0.9"), service("b", "10.96.0.9")
    backing = endpoint_slice(endpoint("10.244.0.1"), name="a-1", of="a")
    edge = FakeTable()
    proxier = proxier_on(ipv4(edge))
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
    proxier = proxier_on(ipv4(edge))
    proxier.take(additions(WEB, WEB_SLICE))
    proxier.sync(full=True)
    edge.update(
        SKELETONS["ip"], {FRONTENDS: ElementChange(remove=list(elements_in(ipv4(edge))["ip"][FRONTENDS]))}
    )
    proxier.take(diff_objects({WEB.key: WEB}, {}))

    assert proxier.is_disturbed()
    with pytest.raises(KernelError):
        proxier.sync(full=False)

    proxier.sync(full=True)
    assert services_in(edge) == {}
    assert not proxier.is_disturbed()


class _Refusing(FakeTable):
    """A table that takes nothing while `is_broken`."""

    is_broken = False

    def read(self, table: Table) -> TableState | None:
        if self.is_broken:
            raise kernel_error("read table", errno.EINTR)
        return super().read(table)

    def update(self, table: Table, changes: Mapping[str, ElementChange]) -> None:
        if self.is_broken:
            raise kernel_error("change elements", errno.ENOMEM)
        super().update(table, changes)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("broken", [("ip",), ("ip6",), FAMILIES])
def test_a_family_does_not_wait_for_the_other(broken: tuple[Family, ...], full: bool) -> None:
    """What the kernel refuses to one family is reported after the other one was written."""
    edges = {family: _Refusing() for family in FAMILIES}
    proxier = proxier_on(edges)
    web = service("web", "10.96.0.1", "fd00:96::1")
    proxier.sync(full=True)
    for family in broken:
        edges[family].is_broken = True
    proxier.take(additions(web))
    with pytest.raises(KernelError):
        proxier.sync(full=full)
    for edge in edges.values():
        edge.is_broken = False
    written = [family for family in FAMILIES if elements_in({family: edges[family]})[family][FRONTENDS]]

    assert written == [family for family in FAMILIES if family not in broken]
    proxier.sync(full=True)
    assert all(content[FRONTENDS] for content in elements_in(edges).values())


@pytest.mark.parametrize(
    ("node_ips", "node_address", "expected"),
    [
        pytest.param((), "192.0.2.7", 2, id="the Node's own is in the ranges"),
        pytest.param((), "198.51.100.7", 1, id="the Node's own is not"),
        pytest.param(("192.0.2.9",), "198.51.100.7", 2, id="bindAddress is"),
        pytest.param(("198.51.100.9",), "192.0.2.7", 1, id="bindAddress is not, whatever the Node says"),
        pytest.param(("2001:db8::9",), "192.0.2.7", 2, id="bindAddress of the other family"),
    ],
)
def test_node_address(node_ips: tuple[str, ...], node_address: str, expected: int) -> None:
    """A node that ranges let in may come from the load balancer's address too; bindAddress says who it is."""
    edge = FakeTable()
    proxier = Proxier("n1", [FamilyProxier("ip", edge)], map(ip_address, node_ips))
    ranges = service(ingress=("203.0.113.1",), load_balancer_source_ranges=("192.0.2.0/24",))
    proxier.take(additions(node("n1", node_address), ranges))
    proxier.sync(full=True)

    assert len(elements_in(ipv4(edge))["ip"][SOURCE_RANGES]) == expected


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([node(zone="z1")], "1", id="a zone"),
        pytest.param([node(zone="z1"), node(zone="z2")], "2", id="another zone"),
        pytest.param([node(zone="z1"), node()], "12", id="no zone any more"),
        pytest.param([node(zone="z1"), None], "12", id="no node any more"),
        pytest.param([node("n2", zone="z1")], "12", id="another node's zone"),
    ],
)
def test_zone_of_the_node(steps: list[Object | None], expected: str) -> None:
    """Hints are read again when the node's zone changes."""
    hinted = endpoint_slice(endpoint("10.244.0.1", zones=("z1",)), endpoint("10.244.0.2", zones=("z2",)))
    edge = FakeTable()
    proxier = proxier_on(ipv4(edge))
    proxier.take(additions(WEB, hinted))
    proxier.sync(full=True)
    now: State = {}
    for item in steps:
        state: State = {item.key: item} if item else {}
        proxier.take(diff_objects(now, state))
        proxier.sync(full=False)
        now = state

    assert services_in(edge) == {"TCP 10.96.0.1:80": [f"10.244.0.{number}:8080" for number in expected]}


@given(st.lists(states(), min_size=1, max_size=8), st.sampled_from([4, 16]))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_path_does_not_matter(path: list[State], bits: int) -> None:
    """The tables depend on the last objects alone (law 1), where numbers collide too; restarts are silent."""
    edges = fakes()
    walk(proxier_on(edges, bits), path)
    written = {family: edge.batches for family, edge in edges.items()}
    restarted = proxier_on(edges, bits)
    restarted.take(diff_objects({}, path[-1]))

    assert elements_in(edges) == fresh_start(path[-1], bits)
    assert restarted.sync(full=True).elements == 0
    assert {family: edge.batches for family, edge in edges.items()} == written


@pytest.mark.netns
@given(st.lists(states(), min_size=1, max_size=6))
@settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
def test_path_does_not_matter_to_the_kernel(path: list[State]) -> None:
    """The same on the real thing: no batch is refused, a restart commits nothing, and nft prints it all."""
    with kernel_tables() as (ns, edges):
        proxier = proxier_on(edges, 4)
        walk(proxier, path)
        assert elements_in(edges) == fresh_start(path[-1], 4)
        assert not proxier.is_disturbed()

        generation = edges["ip"].generation()
        restarted = proxier_on(edges, 4)
        restarted.take(diff_objects({}, path[-1]))
        assert restarted.sync(full=True).elements == 0
        assert edges["ip"].generation() == generation
        assert_nft_prints(ns)
