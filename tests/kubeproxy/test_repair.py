"""A damaged table is put right without writing what is right, and what is too large arrives in parts."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kubeproxy.family_proxier import FamilyProxier
from kubeproxy.proxier import Proxier
from kubeproxy.rules.layout import FRONTENDS, TABLE
from kubeproxy.rules.rule_options import RuleOptions
from kubeproxy.rules.skeleton import build_skeleton
from nodeplane.datapath import netns
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.datapath.nft.kernel import KernelTable, TableEdge
from nodeplane.datapath.nft.table import ElementChange
from nodeplane.kube.objects import Object
from tests.kubeproxy.objects import additions, endpoint, endpoint_slice, service
from tests.netns_fixture import namespace, run_in

T = f"ip {TABLE}"
SKELETON = build_skeleton("ip")
WEB = (service(), endpoint_slice(endpoint("10.244.0.1")))
KEPT = (
    service("kept", "10.96.0.4", session_affinity="ClientIP"),
    endpoint_slice(endpoint("10.244.0.4"), name="kept-1", of="kept"),
)
HOSTS = range(1, 101)
# One service with 6,000 endpoints: 400 KB of elements.
LARGE = (
    service("large", "10.96.0.5"),
    *(
        endpoint_slice(*(endpoint(f"10.245.{net}.{host}") for host in HOSTS), name=f"l-{net}", of="large")
        for net in range(60)
    ),
)
CLIENT = f"add element {T} affinity {{ 1.2.3.4 . 0:7 timeout 100s : 0:9 }}"


def synced(edge: TableEdge, *items: Object, options: RuleOptions | None = None) -> tuple[Proxier, int]:
    """Bring a table to some objects as a fresh start does; return how many transactions that took."""
    proxier = Proxier("n1", [FamilyProxier("ip", edge, options or RuleOptions())])
    proxier.take(additions(*items))
    before = edge.generation()
    transactions = proxier.sync(full=True).transactions
    assert edge.generation() == before + transactions
    assert not proxier.is_disturbed()
    return proxier, transactions


def is_right(edge: TableEdge, options: RuleOptions | None = None) -> bool:
    state = edge.read(SKELETON)
    return state is not None and state.holds(build_skeleton("ip", options or RuleOptions()))


@contextmanager
def kernel_table(buffer_bytes: int = 1 << 24) -> Iterator[tuple[Path, KernelTable]]:
    with namespace("rep") as ns, netns.inside(ns), KernelTable("ip", TABLE, buffer_bytes) as edge:
        yield ns, edge


@pytest.mark.netns
@pytest.mark.parametrize(
    ("damage", "transactions"),
    [
        pytest.param(
            "add chain {T} nat-postrouting {{ type nat hook postrouting priority 100; policy drop; }}",
            1,
            id="a policy",
        ),
        pytest.param("add table {T} {{ flags dormant; }}", 2, id="made dormant"),
        pytest.param("insert rule {T} services accept", 1, id="a rule"),
        pytest.param("add chain {T} more; add rule {T} services jump more", 1, id="a chain"),
        pytest.param("add set {T} more {{ type mark; }}", 1, id="a set"),
        pytest.param("flush map {T} classes", 1, id="fixed elements"),
    ],
)
def test_no_element_is_written(damage: str, transactions: int) -> None:
    """Not one element comes or goes for what is wrong beside them; clients are remembered."""
    with kernel_table() as (ns, edge):
        proxier, _ = synced(edge, *WEB, *KEPT)
        for command in (CLIENT, damage.format(T=T)):
            assert run_in(ns, "nft", command).returncode == 0
        assert not is_right(edge)

        report = proxier.sync(full=True)

        assert (report.transactions, report.elements) == (transactions, 0)
        assert is_right(edge)
        assert len(edge.read_uses("affinity")) == 1
        assert not proxier.is_disturbed()


@pytest.mark.netns
def test_other_options_keep_the_elements() -> None:
    """After an upgrade or a change of the configuration only the rules are other ones."""
    with kernel_table() as (ns, edge):
        synced(edge, *WEB, *KEPT)
        assert run_in(ns, "nft", CLIENT).returncode == 0
        other = RuleOptions(masquerade_bit=3)
        proxier, transactions = synced(edge, *WEB, *KEPT, options=other)

        assert (transactions, is_right(edge, other)) == (1, True)
        assert len(edge.read_uses("affinity")) == 1
        assert proxier.sync(full=True).transactions == 0


@pytest.mark.netns
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(
            "add set {T} more {{ type mark; flags constant; }}; add rule {T} services meta mark @more accept",
            id="what can't be taken away by itself",
        ),
        pytest.param(
            "flush chain {T} services; flush chain {T} node-port; delete set {T} service-cidrs; "
            "add set {T} service-cidrs {{ type mark; }}",
            id="a set of another shape",
        ),
    ],
)
def test_written_anew(damage: str) -> None:
    """What can't be repaired is replaced."""
    with kernel_table() as (ns, edge):
        proxier, _ = synced(edge, *WEB)
        done = run_in(ns, "nft", damage.format(T=T))
        assert (done.returncode, done.stderr) == (0, "")

        proxier.sync(full=True)
        assert is_right(edge)


@pytest.mark.netns
def test_established_connections_go_on() -> None:
    """A connection to a service survives the repair of the rules that led it there."""
    with kernel_table() as (ns, edge):
        for address in ("10.244.0.1", "10.96.0.1"):
            assert run_in(ns, "ip", "address", "add", f"{address}/32", "dev", "lo").returncode == 0
        proxier, _ = synced(edge, *WEB)
        with (
            socket.create_server(("10.244.0.1", 8080)) as server,
            socket.create_connection(("10.96.0.1", 80), timeout=30) as client,
            server.accept()[0] as served,
        ):
            assert run_in(ns, "nft", f"flush chain {T} services").returncode == 0
            assert proxier.sync(full=True).transactions == 1
            client.sendall(b"still here")
            served.settimeout(30)
            assert served.recv(100) == b"still here"


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.netns)])
def small(request: pytest.FixtureRequest) -> Iterator[TableEdge]:
    """Yield an edge that takes little more than the constant part at once."""
    if request.param == "fake":
        yield FakeTable(limit_bytes=200_000)
        return
    with kernel_table(100_000) as (_, edge):
        yield edge


def test_too_large(small: TableEdge, caplog: pytest.LogCaptureFixture) -> None:
    """A load and a change that are too large arrive in parts, and the log says so."""
    proxier, loads = synced(small, *LARGE)
    right = small.read(SKELETON)
    assert loads > 2
    assert right is not None
    assert right.holds(SKELETON)
    assert "written in several family=ip elements=" in caplog.text

    slots = right.elements["slots"]
    small.update(SKELETON, {FRONTENDS: ElementChange(remove=[*right.elements[FRONTENDS]])})
    keys = sorted(slots)
    for start in range(0, len(keys), 1000):
        small.update(SKELETON, {"slots": ElementChange(remove=keys[start : start + 1000])})
    assert proxier.is_disturbed()
    assert proxier.sync(full=True).transactions > 1
    assert small.read(SKELETON) == right
    assert not proxier.is_disturbed()

    proxier.take(additions(*WEB))
    assert proxier.sync(full=False).transactions == 1
