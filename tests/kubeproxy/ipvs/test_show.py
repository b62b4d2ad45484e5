"""What `kubeproxy show` says in mode ipvs."""

from typing import Any

import pytest

from kubeproxy.ipvs.show import describe_services
from kubeproxy.ipvs.skeleton import build_skeleton
from nodeplane.kube.objects import ClientIPConfig, SessionAffinityConfig
from tests.kubeproxy.ipvs.test_family import BACKING, FEWER, VIP, A, B, Node, change
from tests.kubeproxy.objects import service

STICKY: dict[str, Any] = {
    "session_affinity": "ClientIP",
    "session_affinity_config": SessionAffinityConfig(ClientIPConfig(600)),
}
BOTH = ["10.244.0.1:8080", "10.244.0.2:8080"]


def shown(node: Node) -> list[tuple[Any, ...]]:
    state = node.table.read(build_skeleton("ip"))
    assert state is not None
    rows = describe_services("ip", state.elements, {}, node.ipvs)
    return [(row["choice"], row["remembered"], row["endpoints"], row["weights"]) for row in rows]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({}, ("rr", 0, BOTH, ["1", "0, has 3"]), id="one that drains"),
        pytest.param(STICKY, ("rr, kept 600 s", 5, BOTH, ["1", "0, has 3"]), id="clients remembered"),
    ],
)
def test_served(spec: dict[str, Any], expected: tuple[Any, ...]) -> None:
    """Weights, of 0 the connections that are left; how many clients are remembered."""
    node = Node()
    proxier = node.proxier(service(**spec), BACKING)
    node.ipvs.connect(VIP, A, active=7, persistent=4)
    node.ipvs.connect(VIP, B, active=2, inactive=1, persistent=1)
    change(proxier, BACKING, FEWER)

    assert shown(node) == [expected]


def test_nobody() -> None:
    node = Node()
    node.proxier(service())

    assert shown(node) == [("", 0, ["rejected: no endpoint"], [])]
