"""Where `netns-lab exec` goes."""

import msgspec
import pytest

from netns_lab.execute import find_place
from netns_lab.topology import InterfaceSpec, NodeSpec, PodSpec, RouterSpec, Topology
from nodeplane.errors import ConfigError

N1, A_WEB, B_WEB, ONLY = (
    NodeSpec("n1"),
    PodSpec("web", "n1", "a"),
    PodSpec("web", "n1", "b"),
    PodSpec("x", "n1"),
)
TOPOLOGY = Topology("lab", (N1, NodeSpec("x")), (A_WEB, B_WEB, ONLY))


@pytest.mark.parametrize(
    ("name", "place"),
    [
        pytest.param("n1", N1, id="node"),
        pytest.param("a/web", A_WEB, id="pod by namespace and name"),
        pytest.param("default/x", ONLY, id="pod that shares its name with a node"),
    ],
)
def test_find_place(name: str, place: NodeSpec | PodSpec) -> None:
    assert find_place(TOPOLOGY, name) == place


def test_a_router_is_a_place_too() -> None:
    router = RouterSpec("r1", (InterfaceSpec("segment"),))
    topology = msgspec.structs.replace(TOPOLOGY, routers=(router,))

    assert find_place(topology, "r1") == router
    with pytest.raises(ConfigError, match="expected the name of one node, router or pod: n1, x, r1, a/web"):
        find_place(topology, "r2")


@pytest.mark.parametrize("name", ["web", "x", "n9", "c/web"])
def test_no_single_place(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_place(TOPOLOGY, name)

    assert (
        str(caught.value) == f"{name}: expected the name of one node or pod: n1, x, a/web, b/web, default/x"
    )
