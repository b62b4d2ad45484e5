"""What is asked of a lab before it counts as in service."""

from ipaddress import IPv4Address

import msgspec
import pytest

from netns_lab.probe import Connection, Name, Probe, Routes, build_probes
from netns_lab.topology import Topology
from tests.netns_lab.samples import CLIENT, TOPOLOGY, WEB_1, WEB_2, WEB_IP, held, service

ADDRESSES = {
    "clients/client": (IPv4Address("10.244.0.1"),),
    "default/web-1": (IPv4Address("10.244.0.2"),),
    "default/web-2": (IPv4Address("10.244.1.2"),),
}
JOB = msgspec.structs.replace(WEB_2, command=("python3", "-m", "http.server", "8080"))


def always(node: str, far: set[str]) -> list[Probe]:
    """Return what is asked of a node in every lab: the routes, and the cluster DNS's own name."""
    addresses = frozenset(ADDRESSES[pod][0] for pod in far)
    return [Routes(node, addresses), Name(node, "kube-dns.kube-system.svc.cluster.local", "10.96.0.10")]


@pytest.mark.parametrize(
    ("topology", "services", "ports", "doors"),
    [
        pytest.param(TOPOLOGY, [], {}, [], id="no services"),
        pytest.param(TOPOLOGY, [service()], {"": 8080}, [(WEB_IP, 80)], id="echo servers behind a service"),
        pytest.param(
            msgspec.structs.replace(TOPOLOGY, pods=(CLIENT, WEB_1, JOB)),
            [service()],
            {"": 8080},
            [],
            id="another program behind it may not listen yet",
        ),
        pytest.param(TOPOLOGY, [service()], {}, [], id="nothing behind it"),
        pytest.param(
            TOPOLOGY,
            [service(clusterIP=WEB_IP, selector={"app": "web"}, ports=[{"port": 80, "protocol": "UDP"}])],
            {"": 8080},
            [],
            id="UDP connects without an answer",
        ),
    ],
)
def test_build_probes(
    topology: Topology, services: list[dict[str, object]], ports: dict[str, int], doors: list[tuple[str, int]]
) -> None:
    objects = held(topology, ADDRESSES, *services, ports=ports)
    # Another lab's, or a person's: not asked for.
    objects += held(msgspec.structs.replace(TOPOLOGY, name="third"), {}, service("theirs"))

    probes = build_probes(topology, ADDRESSES, objects)

    names = ["web.default.svc.cluster.local"] if services else []
    assert len(probes) == len(set(probes))
    assert set(probes) == {
        probe
        for node, far in (("n1", {"default/web-2"}), ("n2", {"clients/client", "default/web-1"}))
        for probe in (
            *always(node, far),
            *(Name(node, name, WEB_IP) for name in names),
            *(Connection(node, *door) for door in doors),
        )
    }
