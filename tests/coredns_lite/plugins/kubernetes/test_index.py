"""Objects to an index: what it knows depends on the objects alone, and a change costs what it is worth."""

import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coredns_lite.plugins.kubernetes.facts import Scope, pack
from coredns_lite.plugins.kubernetes.index import EVERYTHING, Index
from coredns_lite.plugins.kubernetes.label_selector import parse_label_selector
from coredns_lite.plugins.kubernetes.reverse_zone import ReverseZone
from coredns_lite.plugins.kubernetes.zone import Zone, ZoneOptions
from coredns_lite.wire.names import encode_name
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import RecordType
from coredns_lite.wire.reply import Answer
from nodeplane.kube.objects import Object, ObjectKey
from nodeplane.kube.store import diff_objects
from tests.coredns_lite.objects import (
    READY,
    SERIAL,
    UNREADY,
    additions,
    build_index,
    endpoint,
    endpoint_slice,
    external_name,
    namespace,
    pod,
    service,
    shrunk,
    slice_of,
)
from tests.coredns_lite.plugins.kubernetes.asking import CLIENT, Plugin

WEB = service("web", "10.96.0.1")
DB = service("db", "None")
WITH_PODS = Scope(has_pods=True)


def everything(index: Index) -> list[Any]:
    """Return all that is in an index: the records of its zones, its namespaces and pods, its insides."""
    index.serial = 0
    zone = Zone(encode_name("cluster.local"), index, ZoneOptions(pods="verified"))
    reverse = (ReverseZone(encode_name(name), zone) for name in ("in-addr.arpa", "ip6.arpa"))
    return [
        *zone.records(),
        *(record for each in reverse for record in each.records()),
        index.namespaces(),
        list(index.pods()),
        sorted(index._at),
        sorted(index._entries),
        index._namespaces,
    ]


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        pytest.param([WEB], [service("web", "10.96.0.2")], True, id="another address"),
        pytest.param([WEB], [], True, id="Service gone"),
        pytest.param([WEB], [WEB, namespace("default")], False, id="a Namespace that a Service named"),
        pytest.param(
            [WEB, namespace("default")], [namespace("default")], True, id="last Service, Namespace stays"
        ),
        pytest.param([], [namespace("default")], True, id="a new Namespace"),
        pytest.param([WEB], [service("web", "10.96.0.1", app="web")], False, id="a label"),
        pytest.param(
            [WEB],
            [WEB, endpoint_slice("web-1", "web", **{"10_1_0_1": READY})],
            True,
            id="endpoint of a cluster IP, which has a name too",
        ),
        pytest.param(
            [], [endpoint_slice("x", "gone", **{"10_1_0_1": READY})], False, id="slice without a Service"
        ),
        pytest.param(
            [DB, endpoint_slice("db-1", "db", **{"10_1_0_1": UNREADY})],
            [DB, endpoint_slice("db-1", "db", **{"10_1_0_1": READY})],
            True,
            id="endpoint becomes ready",
        ),
        pytest.param(
            [DB, endpoint_slice("db-1", "db", **{"10_1_0_1": READY, "10_1_0_2": UNREADY})],
            [DB, endpoint_slice("db-1", "db", **{"10_1_0_1": READY})],
            False,
            id="an unready endpoint goes",
        ),
        pytest.param(
            [DB, slice_of("db-1", "db", [endpoint("10.1.0.1")])],
            [DB, slice_of("db-1", "db", [endpoint("10.1.0.1", serving=False, terminating=True)])],
            False,
            id="a condition that names don't depend on",
        ),
        pytest.param([pod("p", "10.1.0.1")], [pod("p", "10.1.0.2")], True, id="pod with another address"),
    ],
)
def test_change(before: list[Object], after: list[Object], changes: bool) -> None:
    """Only what changes an answer moves the serial, and says so."""
    index = build_index(*before, scope=WITH_PODS)
    batch = diff_objects(shrunk(before, WITH_PODS), shrunk(after, WITH_PODS))

    assert bool(index.apply(batch, SERIAL + 9)) == changes
    assert index.serial == (SERIAL + 9 if changes else SERIAL)
    assert everything(index) == everything(build_index(*after, scope=WITH_PODS))


def test_first_snapshot() -> None:
    """An empty first batch is a snapshot too: from then on what is not there does not exist."""
    index = Index()
    assert not index.is_complete

    assert index.apply((), SERIAL)
    assert index.is_complete
    assert not index.apply((), SERIAL + 1)


def test_serial_never_goes_back() -> None:
    """A clock set back leaves the serial (RFC 1982), as secondaries and caches want."""
    index = build_index()
    index.apply(additions(WEB), SERIAL - 100)

    assert index.serial == SERIAL


@pytest.mark.parametrize(
    ("address", "services"),
    [
        pytest.param("10.96.0.1", ["web"], id="cluster IP"),
        pytest.param("10.1.0.1", ["api", "web"], id="endpoint of two, in order"),
        pytest.param("10.1.0.3", [], id="unready"),
        pytest.param("10.1.0.4", [], id="slice without a Service"),
        pytest.param("192.0.2.1", [], id="nobody's"),
    ],
)
def test_at(address: str, services: list[str]) -> None:
    index = build_index(
        WEB,
        service("api", "10.96.0.2"),
        endpoint_slice("web-1", "web", **{"10_1_0_1": READY, "10_1_0_3": UNREADY}),
        endpoint_slice("api-1", "api", **{"10_1_0_1": READY}),
        endpoint_slice("gone-1", "gone", **{"10_1_0_4": READY}),
    )

    assert [entry.name for entry in index.at(pack(address))] == services


def test_pods_at() -> None:
    """A pod's address is its own; one of its node's network is told from that; an ended pod has none."""
    index = build_index(
        pod("a", "10.1.0.1", "fd01::1"),
        pod("b", "10.9.0.1", on_host=True),
        pod("c", "10.9.0.1", on_host=True),
        pod("d", "10.1.0.1", phase="Failed"),
        scope=WITH_PODS,
    )
    found = {
        text: [(each.metadata.name, each.is_on_host) for each in index.pods_at(pack(text))]
        for text in ("10.1.0.1", "fd01::1", "10.9.0.1", "10.9.0.2")
    }

    assert found == {
        "10.1.0.1": [("a", False)],
        "fd01::1": [("a", False)],
        "10.9.0.1": [("b", True), ("c", True)],
        "10.9.0.2": [],
    }


def test_an_address_used_again() -> None:
    """The address of a pod that has gone belongs to the next one alone, in whatever order that is told."""
    old, new = pod("old", "10.1.0.1"), pod("new", "10.1.0.1", namespace="team")
    for batch in (
        diff_objects(shrunk([old]), shrunk([new])),
        tuple(reversed(diff_objects(shrunk([old]), shrunk([new])))),
    ):
        index = build_index(old, scope=WITH_PODS)
        index.apply(batch, SERIAL)
        assert [each.metadata.namespace for each in index.pods_at(pack("10.1.0.1"))] == ["team"]


OBJECTS: list[Object] = [
    WEB,
    service("web", "10.96.0.2", "fd00::2", ports="http:80"),
    service("web", "None"),
    external_name("web", "example.org"),
    service("api", "10.96.0.3"),
    service("api", "10.1.0.1"),
    service("api", "10.96.0.4", namespace="team"),
    namespace("default"),
    namespace("team", tier="front"),
    endpoint_slice("web-1", "web", **{"10_1_0_1": READY, "10_1_0_2": READY}),
    endpoint_slice("web-1", "web", **{"10_1_0_1": UNREADY, "10_1_0_2": READY}),
    slice_of("web-1", "web", [endpoint("10.1.0.1", "a"), endpoint("10.1.0.3", "a")], ports="http:80"),
    endpoint_slice("web-1", "api", **{"10_1_0_1": READY}),
    slice_of("web-2", "web", [endpoint("10.1.0.2")], ports="http:80"),
    endpoint_slice("web-3", "web", xfd00__1=READY),
    pod("p", "10.1.0.1"),
    pod("p", "10.1.0.2", "fd00::1"),
    pod("q", "10.1.0.1", namespace="team"),
    pod("q", "10.1.0.1", on_host=True),
]
STATES = st.lists(st.sampled_from(OBJECTS)).map(lambda items: {item.key: item for item in items})
SCOPES = (
    WITH_PODS,
    Scope(has_pods=True, namespace_labels=parse_label_selector("tier")),
    Scope(namespaces=frozenset({"team"})),
)


@given(st.lists(STATES, min_size=1, max_size=6), st.sampled_from(SCOPES))
@settings(deadline=None)
def test_path_does_not_matter(path: list[Mapping[ObjectKey, Object]], scope: Scope) -> None:
    """What is known depends on the last objects alone, never on the way there (law 1)."""
    index = Index(scope)
    state: dict[ObjectKey, Object] = {}
    for step, target in enumerate(path):
        facts = shrunk(target.values(), scope)
        index.apply(diff_objects(state, facts), SERIAL + step)
        state = facts

    assert everything(index) == everything(build_index(*path[-1].values(), scope=scope))


QUESTIONS = [
    Query(1, 0, encode_name(name) + rtype.to_bytes(2) + b"\0\1", encode_name(name), rtype, 1)
    for name, rtypes in {
        "cluster.local": (RecordType.NS, RecordType.A),
        "ns.dns.cluster.local": (RecordType.A,),
        "other.cluster.local": (RecordType.A,),
        "default.svc.cluster.local": (RecordType.A,),
        "team.svc.cluster.local": (RecordType.A,),
        "team.pod.cluster.local": (RecordType.A,),
        **{
            f"{name}.svc.cluster.local": (RecordType.A, RecordType.AAAA, RecordType.SRV)
            for name in (
                "web.default",
                "api.default",
                "api.team",
                "a.web.default",
                "10-1-0-2.web.default",
                "10-1-0-1.api.default",
                "_http._tcp.web.default",
            )
        },
        "10-1-0-1.default.pod.cluster.local": (RecordType.A,),
        "10-1-0-1.team.pod.cluster.local": (RecordType.A,),
        "fd00--1.default.pod.cluster.local": (RecordType.AAAA,),
        **{f"{number}.0.1.10.in-addr.arpa": (RecordType.PTR, RecordType.A) for number in range(4)},
        "1.0.96.10.in-addr.arpa": (RecordType.PTR,),
    }.items()
    for rtype in rtypes
]


@given(STATES, STATES, st.booleans(), st.sampled_from(["", ";ignore empty_service"]))
@settings(deadline=None)
def test_whose_answers_change(
    before: Mapping[ObjectKey, Object], after: Mapping[ObjectKey, Object], has_namespaces: bool, options: str
) -> None:
    """An answer that a batch makes another one is about something that the batch touches."""
    # Without Namespaces, the first and the last Service of one touch everything.
    always = {item.key: item for item in (namespace("default"), namespace("team"))} if has_namespaces else {}
    plugin = Plugin(*{**before, **always}.values(), options=f"pods verified{options}", own="10.1.0.1")
    scope = plugin.config.scope
    old = [plugin.link.answer(query, CLIENT) for query in QUESTIONS]
    batch = diff_objects(
        shrunk({**before, **always}.values(), scope), shrunk({**after, **always}.values(), scope)
    )
    touched = plugin.index.apply(batch, SERIAL)

    for query, answer in zip(QUESTIONS, old, strict=True):
        assert isinstance(answer, Answer)
        if plugin.link.answer(query, CLIENT) != answer:
            assert answer.about is None or answer.about in touched or EVERYTHING in touched


@pytest.mark.parametrize("kind", ["Service", "slice"])
def test_a_change_costs_the_same_among_many(kind: str) -> None:
    """The work of one change, counted in calls, does not grow with the cluster (law 5)."""

    def build(number: int, last: int) -> list[Object]:
        address = f"10.{number // 250}.{number % 250}.{last}"
        return [service(f"s{number}", address), slice_of(f"s{number}-1", f"s{number}", [endpoint(address)])]

    def calls(services: int) -> int:
        index = build_index(*(item for number in range(services) for item in build(number, 1)))
        at = 0 if kind == "Service" else 1
        old, new = (shrunk([build(7, last)[at]]) for last in (1, 2))
        batch = diff_objects(old, new)
        count = 0

        def note(_frame: FrameType, _event: str, _arg: object) -> None:
            nonlocal count
            count += 1

        sys.setprofile(note)
        try:
            index.apply(batch, SERIAL)
        finally:
            sys.setprofile(None)
        return count

    assert calls(10) == calls(1000)
