"""A pod reaches the API server by its Service, and hears its answers."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest

from netns_lab.pod_routes import build_pod_routes, describe, read_pod_routes
from netns_lab.topology import NodeSpec, PodSpec, Topology
from tests.lab.labs import TWO_NODES, LabUnderTest, lab_from
from tests.netns_fixture import run_in

SERVER = "https://kubernetes.default.svc.cluster.local/version"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    """Yield a lab that is up."""
    with lab_from(TWO_NODES, tmp_path_factory.mktemp("pod-routes")) as lab:
        lab.up()
        yield lab


def test_build_pod_routes() -> None:
    """Of a pod without an address nobody knows; IPv6 the server does not speak."""
    topology = Topology(
        "lab",
        (NodeSpec("n1", "172.30.0.7"), NodeSpec("n2")),
        (PodSpec("a", "n1"), PodSpec("b", "n2"), PodSpec("c", "n2")),
    )
    addresses = {"default/a": (IPv4Address("10.244.0.1"),), "default/b": (IPv4Address("10.244.1.1"),)}

    assert build_pod_routes(topology, addresses) == {
        IPv4Network("10.244.0.1/32"): IPv4Address("172.30.0.7"),
        IPv4Network("10.244.1.1/32"): IPv4Address("172.30.0.2"),
    }


@pytest.mark.lab
def test_every_pod_reaches_the_server(lab: LabUnderTest) -> None:
    pods = [row["pod"] for row in lab.status()["pods"]]

    answers = {pod: lab.execute(pod, "curl", "-sk", "--max-time", "10", SERVER).stdout for pod in pods}

    assert len(pods) > 1
    assert [pod for pod, answer in answers.items() if '"gitVersion"' not in answer] == []


@pytest.mark.lab
def test_a_lost_route_is_missing_and_comes_back(lab: LabUnderTest) -> None:
    """And a foreign one goes."""
    whole = read_pod_routes(lab.name)
    network, gateway = next(iter(whole.items()))
    fabric = lab.node("fabric")
    assert run_in(fabric, "ip", "route", "del", str(network)).returncode == 0
    other = f"ip route add 10.244.255.1 via {gateway} proto static"
    assert run_in(fabric, *other.split()).returncode == 0

    missing = lab.status()["missing"]
    changes = lab.up()["changes"]

    assert missing == [describe(lab.name, network, gateway)]
    assert len(changes) == 2
    assert read_pod_routes(lab.name) == whole
