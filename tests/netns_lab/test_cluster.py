"""The lab's objects: all of them, decodable by every program, stable where nothing has changed."""

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netns_lab.cluster import assign_cluster_ips, build_cluster, render_files
from nodeplane.kube.manifests import ManifestDirectory
from nodeplane.kube.objects import EndpointSlice, Service
from tests.netns_lab.samples import TOPOLOGY, lab_spec, service

ADDRESSES = {
    "clients/client": IPv4Address("10.244.0.1"),
    "default/web-1": IPv4Address("10.244.0.2"),
    "default/web-2": IPv4Address("10.244.1.2"),
}
NAMES = st.lists(
    st.tuples(st.sampled_from("abc"), st.text("xyz", min_size=1, max_size=4)), unique=True, max_size=9
)


def test_every_object_is_there() -> None:
    cluster = build_cluster(lab_spec(TOPOLOGY, service()), ADDRESSES)

    assert sorted(str(manifest.item.key) for manifest in cluster) == [
        "EndpointSlice/default/web-d76f8",
        "EndpointSlice/kube-system/kube-dns-nodes",
        "Namespace/clients",
        "Namespace/default",
        "Namespace/kube-system",
        "Node/n1",
        "Node/n2",
        "Pod/clients/client",
        "Pod/default/web-1",
        "Pod/default/web-2",
        "Service/default/web",
        "Service/kube-system/kube-dns",
    ]


def test_programs_read_what_was_meant(tmp_path: Path) -> None:
    """The files give back the very objects, through the same source that the programs use."""
    cluster = build_cluster(lab_spec(TOPOLOGY, service()), ADDRESSES)
    for name, content in render_files(cluster).items():
        (tmp_path / name).write_bytes(content)

    read = {item.key: item for item in ManifestDirectory(tmp_path).read()}

    assert read == {manifest.item.key: manifest.item for manifest in cluster}


def test_pods_without_an_address_are_no_endpoints() -> None:
    cluster = build_cluster(lab_spec(TOPOLOGY, service()), {"default/web-2": ADDRESSES["default/web-2"]})

    slices = [manifest.item for manifest in cluster if isinstance(manifest.item, EndpointSlice)]
    assert [
        [endpoint.addresses for endpoint in piece.endpoints]
        for piece in slices
        if piece.service_name == "web"
    ] == [[("10.244.1.2",)]]


def test_cluster_dns_is_every_node() -> None:
    cluster = build_cluster(lab_spec(TOPOLOGY), {})

    slices = [manifest.item for manifest in cluster if isinstance(manifest.item, EndpointSlice)]
    assert [msgspec.json.decode(msgspec.json.encode(piece)) for piece in slices] == [
        {
            "metadata": {
                "name": "kube-dns-nodes",
                "namespace": "kube-system",
                "labels": {"kubernetes.io/service-name": "kube-dns"},
            },
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": ["172.30.0.2"], "nodeName": "n1", "zone": "a"},
                {"addresses": ["172.30.0.3"], "nodeName": "n2"},
            ],
            "ports": [{"name": "dns", "protocol": "UDP", "port": 53}],
        }
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({"clusterIP": "10.96.7.7"}, "10.96.7.7", id="one of its own stays"),
        pytest.param({"clusterIP": "None"}, "None", id="headless stays"),
        pytest.param({}, "10.96.209.100", id="none: one that follows from the name"),
    ],
)
def test_cluster_ip(given: dict[str, str], expected: str) -> None:
    raw = service(ports=[{"port": 80}], **given)

    first = build_cluster(lab_spec(TOPOLOGY, raw), {})[0]

    assert first.raw == {**raw, "spec": {**raw["spec"], "clusterIP": expected}}
    assert isinstance(first.item, Service)
    assert first.item.spec.cluster_ip == expected


@settings(deadline=None)
@given(NAMES)
def test_assigned_addresses_differ_and_are_free(names: list[tuple[str, str]]) -> None:
    network = IPv4Network("10.0.0.0/28")
    taken = {IPv4Address("10.0.0.3"), IPv4Address("10.0.0.4")}

    assigned = assign_cluster_ips(names, network, taken)

    assert assigned.keys() == set(names)
    assert len(set(assigned.values())) == len(names)
    assert not set(assigned.values()) & {*taken, IPv4Address("10.0.0.0"), IPv4Address("10.0.0.15")}
    assert assign_cluster_ips(names[::-1], network, taken) == assigned
