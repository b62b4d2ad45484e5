"""What is done to an API server so that it holds the lab's objects."""

from contextlib import nullcontext
from copy import deepcopy
from ipaddress import IPv4Address
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netns_lab.cluster import build_cluster, marks, owner
from netns_lab.cluster_delta import ClusterDelta, diff_cluster, differences, is_covered, key_of, unsettled
from netns_lab.loader import Manifest
from netns_lab.topology import Topology
from nodeplane.errors import NodeplaneError
from nodeplane.kube.objects import EndpointSlice, ObjectKey, Pod, Service
from tests.netns_lab.samples import CLIENT, TOPOLOGY, WEB_1, WEB_2, lab_spec, service

ADDRESSES = {"default/web-1": (IPv4Address("10.244.0.2"),), "default/web-2": (IPv4Address("10.244.1.2"),)}
SLICE_LABEL = "endpointslice.kubernetes.io/managed-by"


def desired(*raw: dict[str, Any], topology: Topology = TOPOLOGY) -> tuple[Manifest, ...]:
    """Return the objects of a lab with two web pods."""
    return build_cluster(lab_spec(topology, *raw), ADDRESSES)


def served(*values: dict[str, Any]) -> dict[ObjectKey, dict[str, Any]]:
    """Return what a server holds after these were written: as they were, with a server's fields."""
    live = {}
    for value in deepcopy(values):
        value["metadata"] |= {"uid": f"uid-{value['metadata']['name']}", "resourceVersion": "1"}
        if value["kind"] == "Service":
            value["spec"].setdefault("clusterIP", "10.96.3.4")
            for port in value["spec"]["ports"]:
                port.setdefault("protocol", "TCP")
        live[key_of(value)] = value
    return live


def whole(*raw: dict[str, Any]) -> dict[ObjectKey, dict[str, Any]]:
    """Return a server that holds a lab as it should."""
    return served(*(manifest.raw for manifest in desired(*raw)))


def text(delta: ClusterDelta) -> tuple[list[str], list[str]]:
    """Return a delta in words: what is removed, and what is written, a group a line."""
    removed = [f"{removal.key} {removal.uid}" for removal in delta.remove]
    groups = [
        ", ".join(f"{write.key}{'/' if write.subresource else ''}{write.subresource}" for write in group)
        for group in delta.write
    ]
    return removed, groups


def value(kind: str, name: str, namespace: str = "default", **fields: Any) -> dict[str, Any]:
    """Return an object that a person made."""
    version = "discovery.k8s.io/v1" if kind == "EndpointSlice" else "v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, **fields}


def test_first_time() -> None:
    """What others need comes before them; Services that ask for an address come before those that do not."""
    live = served(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}},
    )

    delta = diff_cluster("lab", desired(service("any", ports=[{"port": 1}]), service()), live)

    assert text(delta) == (
        [],
        [
            "Namespace/clients",
            "Node/n1, Node/n2",
            "Node/n1/status, Node/n2/status",
            "Service/kube-system/kube-dns, Service/default/web",
            "Service/default/any",
            "EndpointSlice/kube-system/kube-dns-nodes",
            "Pod/default/web-1, Pod/default/web-2",
            "Pod/default/web-1/status, Pod/default/web-2/status",
        ],
    )


def test_nothing_to_do() -> None:
    assert not diff_cluster("lab", desired(service()), whole(service()))


def copied(name: str, annotations: dict[str, str]) -> dict[str, Any]:
    """Return a Service that a person made of one of the lab's."""
    metadata = {"name": name, "namespace": "default", "labels": marks("lab"), "annotations": annotations}
    return value("Service", name, spec={"ports": []}) | {"metadata": metadata}


WEB = ObjectKey(Service, "default", "web")
OLD = next(entry for entry in desired(service("old")) if entry.item.metadata.name == "old")
POD = ObjectKey(Pod, "default", "web-1")
DNS_NODES = ObjectKey(EndpointSlice, "kube-system", "kube-dns-nodes")


@pytest.mark.parametrize(
    ("change", "removed", "written"),
    [
        pytest.param(lambda live: live.pop(WEB), [], ["Service/default/web"], id="deleted: written again"),
        pytest.param(
            lambda live: live[WEB]["spec"].update(selector={"app": "x"}),
            [],
            ["Service/default/web"],
            id="changed: written again",
        ),
        pytest.param(
            lambda live: live[WEB]["metadata"]["labels"].update(mine="x"), [], [], id="added to: left alone"
        ),
        pytest.param(
            lambda live: live[WEB]["spec"]["ports"].append({"port": 81}), [], [], id="a port more: left alone"
        ),
        pytest.param(
            lambda live: live[DNS_NODES]["endpoints"].append({"addresses": ["10.0.0.1"]}),
            [],
            ["EndpointSlice/kube-system/kube-dns-nodes"],
            id="an endpoint more: written again, the list is ours alone",
        ),
        pytest.param(
            lambda live: live[WEB]["metadata"]["annotations"].update({"netns-lab/digest": "old"}),
            [],
            ["Service/default/web"],
            id="made from another file: written again",
        ),
        pytest.param(
            lambda live: live[WEB]["spec"].update(clusterIP="10.96.7.7"),
            ["Service/default/web uid-web"],
            ["Service/default/web"],
            id="another address may not change: made anew",
        ),
        pytest.param(
            lambda live: live.update(served(value("Service", "own", spec={"ports": []}))),
            [],
            [],
            id="a person's: left alone",
        ),
        pytest.param(
            lambda live: live.update(
                served(*(entry.raw for entry in desired(service("old")) if entry.item.metadata.name == "old"))
            ),
            ["Service/default/old uid-old"],
            [],
            id="the lab's and no longer wanted: deleted",
        ),
        pytest.param(
            lambda live: live.update(served(copied("clone", live[WEB]["metadata"]["annotations"]))),
            [],
            [],
            id="a copy with labels and annotations: its maker's",
        ),
        pytest.param(
            lambda live: live[WEB]["metadata"].update(labels={}),
            [],
            ["Service/default/web"],
            id="without its labels: written again",
        ),
        pytest.param(
            lambda live: live[WEB]["metadata"].update(labels={}, annotations={}),
            [],
            ["Service/default/web"],
            id="as if somebody else's: written again, the server is the lab's",
        ),
        pytest.param(
            lambda live: live.update(
                served(
                    value("EndpointSlice", "web-1")
                    | {
                        "metadata": {
                            "name": "web-1",
                            "namespace": "default",
                            "labels": {**marks("lab"), SLICE_LABEL: "x"},
                        }
                    }
                )
            ),
            [],
            [],
            id="a controller's slice of a Service of the lab's: left to the controller",
        ),
    ],
)
def test_difference(change: Any, removed: list[str], written: list[str]) -> None:
    live = whole(service())
    change(live)

    assert text(diff_cluster("lab", desired(service()), live)) == (removed, written)


@pytest.mark.parametrize(
    ("topology", "removed", "written"),
    [
        pytest.param(
            {"pods": (WEB_2,)},
            ["Pod/default/web-1 uid-web-1", "Namespace/clients uid-clients"],
            [],
            id="pods that are gone, and the namespace with the last of them",
        ),
        pytest.param(
            {"pods": (CLIENT, WEB_1, msgspec.structs.replace(WEB_2, node="n1"))},
            ["Pod/default/web-2 uid-web-2"],
            ["Pod/default/web-2", "Pod/default/web-2/status"],
            id="a pod that moves is another pod",
        ),
        pytest.param({"name": "other"}, None, [], id="another lab's objects are in the way"),
    ],
)
def test_changed_topology(topology: dict[str, Any], removed: list[str] | None, written: list[str]) -> None:
    changed = desired(topology=msgspec.structs.replace(TOPOLOGY, **topology))
    if removed is None:
        with pytest.raises(NodeplaneError) as caught:
            diff_cluster("other", changed, whole(), is_own=False)
        assert str(caught.value) == (
            "Node/n1: is on the API server and was not made by lab other; delete it there first"
        )
    else:
        assert text(diff_cluster("lab", changed, whole())) == (removed, written)


@pytest.mark.parametrize(
    ("metadata", "is_refused"),
    [
        pytest.param({"labels": marks("lab")}, False, id="without annotations"),
        pytest.param({"annotations": owner("lab", WEB)}, False, id="without labels"),
        pytest.param({}, True, id="without both"),
        pytest.param(
            {"labels": marks("other"), "annotations": owner("other", WEB)}, True, id="another lab's"
        ),
    ],
)
def test_on_a_foreign_server(metadata: dict[str, Any], is_refused: bool) -> None:
    """What is somebody else's is not touched; what somebody has changed is put right."""
    live = whole(service())
    live[WEB]["metadata"] = {"name": "web", "namespace": "default", **metadata}

    with pytest.raises(NodeplaneError) if is_refused else nullcontext():
        delta = diff_cluster("lab", desired(service()), live, is_own=False)
        assert text(delta) == ([], ["Service/default/web"])


@pytest.mark.parametrize(
    ("change", "moving", "words"),
    [
        pytest.param(lambda _: None, [], [], id="nothing"),
        pytest.param(lambda live: live.pop(WEB), [], ["Service/default/web on the API server"], id="deleted"),
        pytest.param(
            lambda live: live[WEB]["spec"].update(clusterIP="10.96.7.7"),
            [],
            ["Service/default/web on the API server as asked for"],
            id="to be made anew",
        ),
        pytest.param(
            lambda live: live.update(served(OLD.raw)),
            [],
            ["Service/default/old not on the API server"],
            id="one more",
        ),
        pytest.param(
            lambda live: live[POD]["status"].update(phase="Failed"),
            [],
            ["Pod/default/web-1 on the API server as asked for"],
            id="another status",
        ),
        pytest.param(
            lambda live: live[POD]["status"].update(phase="Failed"), [POD], [], id="a status that moves"
        ),
        pytest.param(
            lambda live: live.pop(POD), [POD], ["Pod/default/web-1 on the API server"], id="gone, not moved"
        ),
        pytest.param(
            lambda live: live.update(served(OLD.raw)), [OLD.item.key], [], id="one that may be there"
        ),
    ],
)
def test_differences(change: Any, moving: list[ObjectKey], words: list[str]) -> None:
    live = whole(service())
    change(live)

    assert differences(diff_cluster("lab", desired(service()), live), live, moving) == words


def test_a_namespace_with_a_persons_objects_stays() -> None:
    live = whole() | served(value("Pod", "own", "clients"))
    changed = desired(topology=msgspec.structs.replace(TOPOLOGY, pods=(WEB_1, WEB_2)))

    assert text(diff_cluster("lab", changed, live)) == ([], [])


@pytest.mark.parametrize(
    ("families", "addresses", "waits"),
    [
        pytest.param(["IPv4"], ["10.244.0.2"], False, id="one family of two"),
        pytest.param(["IPv6"], ["10.244.0.2"], True, id="the other one"),
        pytest.param(["IPv4", "IPv6"], ["10.244.0.2"], True, id="a slice of one yet"),
        pytest.param(["IPv4", "IPv6"], ["10.244.0.2", "fd00::2"], False, id="of both"),
    ],
)
def test_unsettled_in_two_families(families: list[str], addresses: list[str], waits: bool) -> None:
    """A Service has endpoints of its own families alone."""
    live = whole(service())
    live[WEB]["spec"]["ipFamilies"] = families
    for pod in [live[key] for key in live if key.kind is Pod]:
        pod["status"]["podIPs"] = [{"ip": "10.244.0.2"}, {"ip": "fd00::2"}]
    labels = {SLICE_LABEL: "x", "kubernetes.io/service-name": "web"}
    metadata = {"name": "web-1", "namespace": "default", "labels": labels}
    endpoints = [{"addresses": [address]} for address in addresses]
    live |= served({**value("EndpointSlice", "web-1"), "metadata": metadata, "endpoints": endpoints})

    assert unsettled("lab", live) == ([WEB] if waits else [])


@pytest.mark.parametrize(
    ("addresses", "waits"),
    [
        pytest.param(None, True, id="no slice yet"),
        pytest.param(["10.244.0.2"], True, id="one of two pods"),
        pytest.param(["10.244.1.2", "10.244.0.2"], False, id="both"),
        pytest.param(["10.244.1.2", "10.244.0.2", "10.244.9.9"], True, id="one too many"),
    ],
)
def test_unsettled(addresses: list[str] | None, waits: bool) -> None:
    live = whole(service())
    if addresses is not None:
        labels = {SLICE_LABEL: "x", "kubernetes.io/service-name": "web"}
        metadata = {"name": "web-1", "namespace": "default", "labels": labels}
        endpoints = [{"addresses": [address]} for address in addresses]
        live |= served({**value("EndpointSlice", "web-1"), "metadata": metadata, "endpoints": endpoints})

    assert unsettled("lab", live) == ([WEB] if waits else [])


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    _containers,
    max_leaves=8,
)


@given(JSON)
def test_everything_covers_itself(written: Any) -> None:
    assert is_covered(written, deepcopy(written))


@pytest.mark.parametrize(
    ("wanted", "live", "covered"),
    [
        pytest.param({"a": 1}, {"a": 1, "b": 2}, True, id="more fields"),
        pytest.param({"a": 1}, {}, False, id="a field less"),
        pytest.param({"a": ""}, {"a": "chosen"}, True, id="nothing was asked for"),
        pytest.param([{"a": 1}, {"a": 2}], [{"a": 2, "b": 1}, {"a": 1}], True, id="another order"),
        pytest.param([{"a": 1}], [{"a": 1}, {"a": 2}], True, id="an entry more"),
        pytest.param([{"a": 1}, {"a": 2}], [{"a": 1}], False, id="an entry less"),
        pytest.param([1], [1, 2], False, id="a plain value more"),
        pytest.param({"a": {"b": 1}}, {"a": None}, False, id="null"),
        pytest.param(1, "1", False, id="another type"),
    ],
)
def test_is_covered(wanted: Any, live: Any, covered: bool) -> None:
    assert is_covered(wanted, live) is covered


def test_is_covered_in_whole_lists() -> None:
    assert not is_covered({"a": [{"b": 1}]}, {"a": [{"b": 1}, {"b": 2}]}, whole_lists=True)
