"""The rows of `status` and `demo`."""

from ipaddress import IPv4Address
from pathlib import Path

import msgspec
import pytest

from netns_lab.remote_server import RemoteServer
from netns_lab.report import node_rows, pod_rows, router_rows, segment_rows, server_row, service_rows
from netns_lab.topology import InterfaceSpec, RouterSpec, SegmentSpec
from tests.netns_lab.samples import TOPOLOGY, held, service

ADDRESSES = {"default/web-1": (IPv4Address("10.244.0.2"),), "default/web-2": (IPv4Address("10.244.1.2"),)}
RUNNING = {"nodes/n1/kubeproxy", "nodes/n1/coredns-lite", "pods/default/web-1"}


@pytest.mark.parametrize(
    ("remote", "behind"),
    [
        pytest.param(None, "netns-lab apiserver", id="its own"),
        pytest.param(RemoteServer("/f", "api.test", 443), "relay to api.test:443", id="another"),
    ],
)
def test_server_row(remote: RemoteServer | None, behind: str) -> None:
    row = server_row(TOPOLOGY, Path("/run/kubeconfig"), remote, is_running=True)

    assert row == {
        "api_server": "172.30.0.1:6443",
        "behind": behind,
        "program": "running",
        "kubeconfig": "/run/kubeconfig",
    }


def test_node_rows() -> None:
    assert node_rows(TOPOLOGY, RUNNING) == [
        {
            "node": "n1",
            "address": "172.30.0.2",
            "zone": "a",
            "namespace": "nl-lab-n1",
            "kubeproxy": "running",
            "cni-agent": "ended",
            "coredns-lite": "running",
        },
        {
            "node": "n2",
            "address": "172.30.0.3",
            "zone": "",
            "namespace": "nl-lab-n2",
            "kubeproxy": "ended",
            "cni-agent": "ended",
            "coredns-lite": "ended",
        },
    ]


def test_segments_and_routers() -> None:
    topology = msgspec.structs.replace(
        TOPOLOGY,
        segments=(SegmentSpec("a", "10.0.1.0/24,fd00:1::/64", mtu=9000), SegmentSpec("b", "10.0.2.0/31")),
        routers=(
            RouterSpec("leaf", (InterfaceSpec("a"), InterfaceSpec("b")), asn=65001),
            RouterSpec("r", (InterfaceSpec("b"),)),
        ),
    )

    assert segment_rows(topology) == [
        {
            "segment": "a",
            "network": "10.0.1.0/24,fd00:1::/64",
            "mtu": 9000,
            "gateway": "10.0.1.2,fd00:1::2",
            "nodes": ["n1", "n2"],
            "routers": ["leaf"],
        },
        {
            "segment": "b",
            "network": "10.0.2.0/31",
            "mtu": 1500,
            "gateway": "10.0.2.0",
            "nodes": [],
            "routers": ["leaf", "r"],
        },
    ]
    assert router_rows(topology, {"routers/leaf/bird"}) == [
        {
            "router": "leaf",
            "namespace": "nl-lab-leaf",
            "links": ["a 10.0.1.2/24,fd00:1::2/64", "b 10.0.2.0/31"],
            "asn": 65001,
            "bird": "running",
        },
        {
            "router": "r",
            "namespace": "nl-lab-r",
            "links": ["b 10.0.2.1/31"],
            "asn": "",
            "bird": "",
        },
    ]


def test_pod_rows() -> None:
    rows = pod_rows(TOPOLOGY, ADDRESSES, RUNNING)
    later = pod_rows(TOPOLOGY, ADDRESSES, RUNNING, {"pods/default/web-2"})

    assert [row["workload"] for row in later] == ["idle", "running", "completed"]
    assert [(row["pod"], row["node"], row["address"], row["workload"]) for row in rows] == [
        ("clients/client", "n1", "", "idle"),
        ("default/web-1", "n1", "10.244.0.2", "running"),
        ("default/web-2", "n2", "10.244.1.2", "ended"),
    ]


def test_service_rows() -> None:
    objects = held(TOPOLOGY, ADDRESSES, service(), service("none", clusterIP="None"), ports={"": 8080})

    assert service_rows(objects) == [
        {"service": "default/none", "cluster_ip": "None", "ports": [], "endpoints": []},
        {
            "service": "default/web",
            "cluster_ip": "10.96.209.100",
            "ports": ["TCP/80"],
            "endpoints": ["10.244.0.2:8080", "10.244.1.2:8080"],
        },
        {
            "service": "kube-system/kube-dns",
            "cluster_ip": "10.96.0.10",
            "ports": ["dns UDP/53", "dns-tcp TCP/53"],
            "endpoints": [
                f"{port} {address}:53"
                for port in ("dns", "dns-tcp")
                for address in ("172.30.0.2", "172.30.0.3")
            ],
        },
    ]


def test_service_with_several_ports() -> None:
    """Each endpoint says which of the ports it is behind; one port needs no name."""
    ports = [
        {"name": "http", "port": 80, "targetPort": "http"},
        {"name": "admin", "port": 81, "targetPort": 9},
    ]
    raw = service(clusterIP="10.96.7.7", selector={"app": "web"}, ports=ports)
    objects = held(TOPOLOGY, ADDRESSES, raw, ports={"http": 8080, "admin": 9})

    assert service_rows(objects)[0] == {
        "service": "default/web",
        "cluster_ip": "10.96.7.7",
        "ports": ["http TCP/80", "admin TCP/81"],
        "endpoints": [
            "admin 10.244.0.2:9",
            "admin 10.244.1.2:9",
            "http 10.244.0.2:8080",
            "http 10.244.1.2:8080",
        ],
    }
