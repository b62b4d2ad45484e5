"""Proxiers over fakes and over kernel tables, and what they hold."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from kubeproxy.desired.desired_elements import DesiredElements
from kubeproxy.desired.pools import PoolNumbers
from kubeproxy.family_proxier import FamilyProxier
from kubeproxy.proxier import Proxier
from kubeproxy.published import read_published
from kubeproxy.rules.addresses import FAMILIES
from kubeproxy.rules.layout import (
    STATE_MAPS,
    TABLE,
)
from kubeproxy.rules.skeleton import build_skeleton
from nodeplane.datapath import netns
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.datapath.nft.kernel import KernelTable, TableEdge
from nodeplane.kube.objects import Object
from nodeplane.kube.source import Batch
from nodeplane.kube.store import diff_objects
from tests.kubeproxy.object_states import State
from tests.kubeproxy.objects import endpoint, endpoint_slice, node, service, service_cidr
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
