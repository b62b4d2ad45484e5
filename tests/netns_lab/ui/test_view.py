"""What the page is told of a lab."""

from ipaddress import ip_address

import msgspec
import pytest

from netns_lab.live import Live
from netns_lab.topology import Topology
from netns_lab.ui.view import build_view
from tests.netns_lab.graph.test_graph import SERVICE, SLICE

TOPOLOGY = msgspec.convert(
    {
        "name": "small",
        "nodes": [{"name": "n1"}],
        "pods": [
            {"name": "web-1", "node": "n1", "ports": [{"port": 8080}]},
            {"name": "dns", "node": "n1", "ports": [{"port": 53, "protocol": "UDP"}]},
            {"name": "own", "node": "n1", "ports": [{"port": 80}], "command": ["server"]},
            {"name": "idle", "node": "n1"},
        ],
    },
    Topology,
)
LIVE = Live(
    {
        "default/web-1": (ip_address("10.244.0.1"),),
        "default/dns": (ip_address("fd00::2"),),
        "default/own": (ip_address("10.244.0.3"),),
        "default/idle": (ip_address("10.244.0.4"),),
    },
    (SERVICE, SLICE),
)


def status(**changes: str) -> dict[str, object]:
    life = {"kubeproxy": "running", "cni-agent": "running", "coredns-lite": "running"} | changes
    pods = [
        {"pod": key, "workload": "running", "address": str(own[0])} for key, own in LIVE.addresses.items()
    ]
    pods.append({"pod": "default/gone", "workload": "running", "address": ""})
    return {"state": "up", "missing": [], "faults": [], "nodes": [{"node": "n1", **life}], "pods": pods}


def test_targets() -> None:
    view = build_view(TOPOLOGY, LIVE, status())

    assert view["pods"] == {
        "default/web-1": "http://10.244.0.1:8080/",
        "default/dns": "udp:[fd00::2]:53",
        "default/own": "tcp:10.244.0.3:80",
        "default/idle": "",
    }
    # One of the endpoints is a node's: whether that speaks HTTP is not known.
    assert view["services"]["default/web"] == {
        "target": "tcp:web.default:80",
        "endpoints": 2,
        "behind": ["default/web-1", "n1"],
    }


@pytest.mark.parametrize(
    ("changes", "sick"),
    [
        pytest.param({}, ["default/gone"], id="a pod without an address"),
        pytest.param({"kubeproxy": "ended"}, ["default/gone", "n1"], id="a program has ended"),
    ],
)
def test_health(changes: dict[str, str], sick: list[str]) -> None:
    assert build_view(TOPOLOGY, LIVE, status(**changes))["sick"] == sick
