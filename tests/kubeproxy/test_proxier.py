"""The laws of the reconciler, on the fake table and on the kernel."""

import errno
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubeproxy.desired.desired_elements import DesiredElements
from kubeproxy.desired.pools import PoolNumbers
from kubeproxy.family_proxier import FamilyProxier
from kubeproxy.proxier import Proxier
from kubeproxy.published import read_published
from kubeproxy.rules.addresses import FAMILIES
from kubeproxy.rules.layout import (
    FRONTENDS,
    SERVICE_CIDRS,
    SOURCE_RANGES,
    STATE_MAPS,
    TABLE,
    encode_service_cidr,
)
from kubeproxy.rules.skeleton import build_skeleton
from nodeplane.datapath import netns
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.datapath.nft.kernel import KernelTable, TableEdge
from nodeplane.datapath.nft.table import ElementChange, Table, TableState
from nodeplane.errors import KernelError, kernel_error
from nodeplane.kube.objects import Object
from nodeplane.kube.source import Batch
from nodeplane.kube.store import diff_objects
from tests.kubeproxy.object_states import State, states
from tests.kubeproxy.objects import additions, endpoint, endpoint_slice, node, service, service_cidr
from tests.netns_fixture import namespace, run_in

WEB = service()
WEB_SLICE = endpoint_slice(endpoint("10.244.0.1"), endpoint("10.244.0.2", node="n2"))
EMPTY = service("empty", "10.96.0.2")

Edges = Mapping[Family, TableEdge]
Content = dict[str, dict[bytes, bytes]]
SKELETONS = {family: build_skeleton(family) for family in FAMILIES}


def proxier_on(edges: Edges, bits: int | None = None) -> Proxier:
    """Build a proxier on some tables; `bits` makes the space of pool numbers small."""
    families = [FamilyProxier(family, edge) for family, edge in edges.items()]
    for each in families:
        if bits is not None:
            each.desired = DesiredElements(PoolNumbers(bits, bits))
    return Proxier("n1", families)


def ipv4(edge: TableEdge) -> Edges:
    return {"ip": edge}


def changed(old: Object, new: Object) -> Batch:
    return diff_objects({old.key: old}, {new.key: new})


def fakes() -> dict[Family, FakeTable]:
    return {family: FakeTable() for family in FAMILIES}


def elements_in(edges: Edges) -> dict[Family, Content]:
    found: dict[Family, Content] = {}
    for family, edge in edges.items():
        state = edge.read(SKELETONS[family])
        assert state is not None
        assert state.holds(SKELETONS[family])
        found[family] = {name: state.elements[name] for name in STATE_MAPS}
    return found


def services_in(edge: TableEdge) -> dict[str, list[str]]:
    return {
        str(each.frontend): [str(endpoint) for endpoint in each.endpoints]
        for each in read_published(elements_in(ipv4(edge))["ip"])
        if not each.is_outside
    }


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


def walk(proxier: Proxier, path: list[State]) -> None:
    now: State = {}
    for number, state in enumerate(path):
        proxier.take(diff_objects(now, state))
        proxier.sync(full=number == 0)
        now = state


def fresh_start(state: State, bits: int | None = None) -> dict[Family, Content]:
    edges = fakes()
    walk(proxier_on(edges, bits), [dict(reversed(state.items()))])
    return elements_in(edges)


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


@contextmanager
def kernel_tables() -> Iterator[tuple[Path, Edges]]:
    with namespace() as ns, netns.inside(ns), ExitStack() as stack:
        yield ns, {family: stack.enter_context(KernelTable(family, TABLE)) for family in FAMILIES}


# nft 1.0.6 puts `update @map { … }` of anybody's into its JSON as text, and says so.
NO_JSON = "warning: stmt ops map have no json callback"


def assert_nft_prints(ns: Path) -> None:
    """Check that the administrator's tools can read all of it (DESIGN.md section 4)."""
    text, data = run_in(ns, "nft", "list", "ruleset"), run_in(ns, "nft", "-j", "list", "ruleset")
    assert (text.returncode, text.stderr, data.returncode) == (0, "", 0)
    assert set(data.stderr.splitlines()) <= {NO_JSON}
    assert "invalid" not in text.stdout
    assert {entry["table"]["name"] for entry in json.loads(data.stdout)["nftables"] if "table" in entry} == {
        TABLE
    }


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


# One of everything: all maps have elements.
FULL: State = {
    item.key: item
    for item in (
        service(
            "lb",
            "10.96.0.3",
            ingress=("192.0.2.1",),
            load_balancer_source_ranges=("10.0.0.0/8", "192.168.0.0/16"),
            external_traffic_policy="Local",
        ),
        endpoint_slice(endpoint("10.244.0.3"), name="lb-1", of="lb"),
        service("kept", "10.96.0.4", session_affinity="ClientIP"),
        endpoint_slice(*(endpoint(f"10.244.0.{number}") for number in range(4, 9)), name="kept-1", of="kept"),
        service("hashed", "10.96.0.5", annotations={"nodeplane.io/lb": "maglev"}),
        endpoint_slice(endpoint("10.244.0.9"), name="hashed-1", of="hashed"),
        service_cidr("default", "10.96.0.0/16"),
        *(WEB, WEB_SLICE, EMPTY, node("n1", "172.30.0.1")),
    )
}
T = f"ip {TABLE}"


CLIENT = f"add element {T} affinity {{ 1.2.3.4 . 0:7 timeout 100s : 0:9 }}"


def first_element(ns: Path, map_name: str) -> str:
    """Return an element of a map as nft writes it, without its counter."""
    listed = json.loads(run_in(ns, "nft", "-j", "list", "map", "ip", TABLE, map_name).stdout)
    (content,) = (entry["map"] for entry in listed["nftables"] if "map" in entry)
    key, data = content["elem"][0]
    parts = key["elem"]["val"] if "elem" in key else key
    return f"{' . '.join(map(str, parts['concat']))} : {data}"


def reset_counter(ns: Path) -> str:
    element = first_element(ns, "frontends")
    key = element.split(" : ", maxsplit=1)[0]
    return f"delete element {T} frontends {{ {key} }}; add element {T} frontends {{ {element} }}"


@pytest.mark.netns
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param("flush ruleset", id="everything gone"),
        pytest.param(f"delete table {T}", id="table gone"),
        pytest.param(f"flush chain {T} services", id="rules gone"),
        pytest.param(f"add element {T} hairpins {{ 1.1.1.1 . 1.1.1.1 }}", id="element added"),
        pytest.param(f"flush map {T} classes", id="fixed elements gone"),
        pytest.param(f"add element {T} frontends {{ * : ff00:0 }}", id="catch-all added"),
        pytest.param(
            f"add chain {T} filter-output {{ type filter hook output priority 0; policy drop; }}",
            id="chain added",
        ),
        pytest.param(f"add table {T} {{ flags dormant; }}", id="made dormant"),
        *(
            pytest.param(f"flush {kind} {T} {name}", id=f"{name} gone")
            for kind, names in {
                "map": ("frontends", "local-pools", "slots", "members", "member-addresses", "affine-pools"),
                "set": ("members-alive", "source-ranges", "cluster-ips", "service-cidrs", "hairpins"),
            }.items()
            for name in names
        ),
        pytest.param(
            f"add element {T} service-cidrs {{ 10.98.0.0/24 }}",
            id="range added",
        ),
        pytest.param(f"add element {T} node-port-ips {{ 1.1.1.1 }}", id="address added"),
        pytest.param(f"add element {T} members-alive {{ 0:7 }}", id="member added"),
        pytest.param(f"delete set {T} node-port-ips", id="set gone"),
    ],
)
def test_damage_is_noticed_and_repaired(damage: str) -> None:
    """What others do to our table is undone (law 3)."""
    with kernel_tables() as (ns, edges):
        proxier = proxier_on(edges)
        walk(proxier, [FULL])
        right = elements_in(edges)
        assert not proxier.is_disturbed()
        done = run_in(ns, "nft", damage)
        assert (done.returncode, done.stderr) == (0, "")

        assert proxier.is_disturbed()
        assert proxier.sync(full=True).transactions
        assert elements_in(edges) == right
        assert not proxier.is_disturbed()


@pytest.mark.netns
@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda _: CLIENT, id="a client remembered"),
        pytest.param(lambda _: f"{CLIENT}; flush map {T} affinity", id="clients forgotten"),
        pytest.param(reset_counter, id="a counter reset"),
        pytest.param(lambda _: "add table ip other", id="another table"),
    ],
)
def test_no_damage(write: Callable[[Path], str]) -> None:
    """What rules write, and what they count, is no state of ours: nothing is written for it."""
    with kernel_tables() as (ns, edges):
        proxier = proxier_on(edges)
        walk(proxier, [FULL])
        done = run_in(ns, "nft", write(ns))
        assert (done.returncode, done.stderr) == (0, "")

        assert proxier.is_disturbed()
        assert proxier.sync(full=True).transactions == 0
        assert not proxier.is_disturbed()


def test_a_wrong_address_of_the_node(caplog: pytest.LogCaptureFixture) -> None:
    """It is named once, however often the Node is written; all else goes on (an API server takes any)."""
    edge = FakeTable()
    proxier = proxier_on(ipv4(edge))
    wrong = node("n1", "host.example", "192.0.2.1")
    for batch in (additions(WEB, WEB_SLICE, wrong), changed(wrong, node("n1", "host.example"))):
        proxier.take(batch)
        proxier.sync(full=True)

    assert len(elements_in(ipv4(edge))["ip"][FRONTENDS]) == 1
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "left out of our own Node node=n1 "
        "error=\"status.addresses[0].address: expected an IP address, got 'host.example'\""
    ]


@pytest.mark.parametrize(
    ("texts", "expected", "errors"),
    [
        pytest.param(["10.97.0.0/16"], ["10.97.0.0/16"], 0, id="another"),
        pytest.param(["10.97.0.1/16"], ["10.97.0.0/16"], 0, id="with host bits"),
        pytest.param(["010.97.0.0/16"], ["10.97.0.0/16"], 0, id="with leading zeros"),
        pytest.param(["10.97.0.0/33"], ["10.96.0.0/16"], 1, id="none: the last version stays"),
        pytest.param(None, [], 0, id="gone"),
    ],
)
def test_service_cidr(
    texts: list[str] | None, expected: list[str], errors: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What is no network is logged and skipped."""
    edge = FakeTable()
    proxier = proxier_on(ipv4(edge))
    before = service_cidr("kubernetes", "10.96.0.0/16")
    proxier.take(additions(WEB, WEB_SLICE, before))
    proxier.take(
        diff_objects({before.key: before}, {})
        if texts is None
        else changed(before, service_cidr("kubernetes", *texts))
    )
    proxier.sync(full=True)

    assert set(elements_in(ipv4(edge))["ip"].get(SERVICE_CIDRS, ())) == {
        encode_service_cidr(ip_network(text)) for text in expected
    }
    assert [record.levelname for record in caplog.records].count("ERROR") == errors


@pytest.mark.netns
def test_every_map_is_in_use() -> None:
    """The state of these tests has elements in all maps but one, and nft prints it."""
    with kernel_tables() as (ns, edges):
        walk(proxier_on(edges), [FULL])
        assert_nft_prints(ns)
        content = elements_in(edges)["ip"]

    assert {name for name in STATE_MAPS if not content[name]} == {"node-ports", "node-port-ips"}
