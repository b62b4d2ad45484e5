"""Objects to names: which names there are, and that they depend on the objects alone."""

import sys
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coredns_lite.name_index import Answers, NameIndex
from coredns_lite.names import ROOT, decode_name
from nodeplane.kube.objects import Object, ObjectKey, Service
from nodeplane.kube.store import diff_objects
from tests.coredns_lite.objects import (
    READY,
    SERIAL,
    TTL_S,
    UNREADY,
    additions,
    build_index,
    endpoint_slice,
    external_name,
    namespace,
    service,
)

WEB = service("web", "10.96.0.1")
DB = service("db", "None")

Texts = dict[str, list[str]]


def texts(index: NameIndex) -> Texts:
    """Return names as text and addresses in hexadecimal, without the two names that are always there."""
    found = {decode_name(name + ROOT): addresses(answers) for name, answers in index.names().items()}
    assert (found.pop("svc."), found.pop("pod.")) == ([], [])
    return found


def addresses(answers: Answers) -> list[str]:
    # An owner of 2 bytes, type, class, TTL and length make 12.
    return [record[12:].hex() for rtype in sorted(answers) for record in answers[rtype].records]


@pytest.mark.parametrize(
    ("objects", "names"),
    [
        pytest.param([], {}, id="nothing"),
        pytest.param(
            [WEB], {"default.svc.": [], "web.default.svc.": ["0a600001"]}, id="a Service names its namespace"
        ),
        pytest.param([namespace("empty")], {"empty.svc.": []}, id="a Namespace without Services"),
        pytest.param(
            [service("web", "10.96.0.1", "fd00::1")],
            {"default.svc.": [], "web.default.svc.": ["0a600001", "fd" + "0" * 29 + "1"]},
            id="dual stack",
        ),
        pytest.param(
            [service("web", "fd00::1")],
            {"default.svc.": [], "web.default.svc.": ["fd" + "0" * 29 + "1"]},
            id="IPv6 alone",
        ),
        pytest.param(
            [service("a", "10.0.0.1", namespace="x"), service("a", "10.0.0.2", namespace="y")],
            {"x.svc.": [], "y.svc.": [], "a.x.svc.": ["0a000001"], "a.y.svc.": ["0a000002"]},
            id="one name in two namespaces",
        ),
        pytest.param([DB], {"default.svc.": []}, id="headless, no slice"),
        pytest.param(
            [DB, endpoint_slice("db-1", "db", **{"10_1_0_1": UNREADY})],
            {"default.svc.": []},
            id="headless, none ready",
        ),
        pytest.param(
            [
                DB,
                endpoint_slice("db-1", "db", **{"10_1_0_9": READY, "10_1_0_10": READY, "10_1_0_3": UNREADY}),
                endpoint_slice("db-2", "db", **{"10_1_0_1": READY, "10_1_0_9": READY}),
                endpoint_slice("db-3", "db", xfd00__1=READY),
            ],
            {
                "default.svc.": [],
                "db.default.svc.": ["0a010001", "0a010009", "0a01000a", "fd" + "0" * 29 + "1"],
            },
            id="headless: each ready address once, in order, of all slices",
        ),
        pytest.param(
            [WEB, endpoint_slice("web-1", "web", **{"10_1_0_1": READY})],
            {"default.svc.": [], "web.default.svc.": ["0a600001"]},
            id="endpoints of a ClusterIP Service don't count",
        ),
        pytest.param([endpoint_slice("x", "gone", **{"10_1_0_1": READY})], {}, id="slice without a Service"),
        pytest.param([service("web", "")], {"default.svc.": []}, id="no cluster IP yet"),
        pytest.param([external_name("out", "example.org")], {"default.svc.": []}, id="ExternalName"),
    ],
)
def test_names(objects: list[Object], names: Texts) -> None:
    assert texts(build_index(*objects)) == names


def test_answers_are_whole() -> None:
    """A positive answer holds its records with the index's TTL and nothing else."""
    (answer,) = (build_index(WEB).find(b"\x03web\x07default\x03svc") or {}).values()

    assert answer.tail == bytes.fromhex("c00c 0001 0001 00000005 0004 0a600001")
    assert (answer.records, answer.authority_count, answer.rcode) == ((answer.tail,), 0, 0)
    assert answer.is_authoritative


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        pytest.param([WEB], [service("web", "10.96.0.2")], True, id="another address"),
        pytest.param([WEB], [], True, id="Service gone"),
        pytest.param([WEB], [WEB, namespace("default")], False, id="a Namespace that a Service named"),
        pytest.param(
            [WEB, namespace("default")], [namespace("default")], True, id="last Service, Namespace stays"
        ),
        pytest.param(
            [WEB],
            [WEB, endpoint_slice("web-1", "web", **{"10_1_0_1": READY})],
            False,
            id="slice of no headless",
        ),
        pytest.param(
            [DB, endpoint_slice("db-1", "db", **{"10_1_0_1": UNREADY})],
            [DB, endpoint_slice("db-1", "db", **{"10_1_0_1": READY})],
            True,
            id="endpoint becomes ready",
        ),
        pytest.param(
            [DB, endpoint_slice("db-1", "db", **{"10_1_0_1": READY})],
            [DB, endpoint_slice("db-2", "db", **{"10_1_0_1": READY})],
            False,
            id="endpoint moves to another slice",
        ),
    ],
)
def test_change(before: list[Object], after: list[Object], changes: bool) -> None:
    """Only what changes an answer moves the serial, and says so."""
    index = build_index(*before)
    batch = diff_objects({item.key: item for item in before}, {item.key: item for item in after})

    assert index.apply(batch, SERIAL + 9) == changes
    assert index.serial == (SERIAL + 9 if changes else SERIAL)
    assert index.names() == build_index(*after).names()


def test_first_snapshot() -> None:
    """An empty first batch is a snapshot too: from then on what is not there does not exist."""
    index = NameIndex(TTL_S)
    assert not index.is_complete

    assert index.apply((), SERIAL)
    assert index.is_complete
    assert not index.apply((), SERIAL + 1)


def test_serial_never_goes_back() -> None:
    """A clock set back leaves the serial (RFC 1982), as secondaries and caches want."""
    index = build_index()
    index.apply(additions(WEB), SERIAL - 100)

    assert index.serial == SERIAL


OBJECTS: list[Object] = [
    WEB,
    service("web", "10.96.0.2", "fd00::2"),
    service("web", "None"),
    external_name("web", "example.org"),
    service("api", "10.96.0.3"),
    service("api", "10.96.0.4", namespace="team"),
    namespace("default"),
    namespace("team"),
    endpoint_slice("web-1", "web", **{"10_1_0_1": READY, "10_1_0_2": READY}),
    endpoint_slice("web-1", "web", **{"10_1_0_1": UNREADY, "10_1_0_2": READY}),
    endpoint_slice("web-1", "api", **{"10_1_0_1": READY}),
    endpoint_slice("web-2", "web", xfd00__1=READY),
]
STATES = st.lists(st.sampled_from(OBJECTS)).map(lambda items: {item.key: item for item in items})


@given(st.lists(STATES, min_size=1, max_size=6))
@settings(deadline=None)
def test_path_does_not_matter(path: list[dict[ObjectKey, Object]]) -> None:
    """The names depend on the last objects alone, never on the way there (law 1)."""
    index = NameIndex(TTL_S)
    state: dict[ObjectKey, Object] = {}
    for step, target in enumerate(path):
        index.apply(diff_objects(state, target), SERIAL + step)
        state = target

    assert index.names() == build_index(*path[-1].values()).names()


def test_a_change_costs_the_same_among_many() -> None:
    """The work of one change, counted in calls, does not grow with the cluster (law 5)."""

    def calls(services: int) -> int:
        index = build_index(*(service(f"s{number}", "10.0.0.1") for number in range(services)))
        old: Service = service("s7", "10.0.0.1")
        new: Service = service("s7", "10.0.0.2")
        batch = diff_objects({old.key: old}, {new.key: new})
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
