"""What the cluster says against the datastore."""

import msgspec
import pytest

from ipam.check import Snapshot
from ipam.cluster import Cluster, ClusterPod
from ipam.live import find_unfit
from ipam.model import PodRef
from tests.ipam.values import BLOCK, POOL, allocation

# Pod default/web-1 on node n1.
HELD = allocation(1, "10.0.0.64")
SNAPSHOT = Snapshot((POOL,), (BLOCK,), (HELD,))
NODES = frozenset({"n1", "n2"})
WEB = ("default", "web-1")


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        pytest.param(Cluster(NODES, {WEB: ClusterPod("n1", ("10.0.0.64",))}), [], id="as it should be"),
        pytest.param(Cluster(NODES, {WEB: ClusterPod("")}), [], id="not yet on a node"),
        pytest.param(
            Cluster(NODES, {}),
            [("address 10.0.0.64", "is orphaned: pod default/web-1 is not in the cluster")],
            id="no such pod",
        ),
        pytest.param(
            Cluster(NODES, {WEB: ClusterPod("n2", ("10.0.0.64",))}),
            [("address 10.0.0.64", "is orphaned: pod default/web-1 is on node n2, not on n1")],
            id="elsewhere",
        ),
        pytest.param(
            Cluster(frozenset({"n2"}), {WEB: ClusterPod("n1")}),
            [("block 10.0.0.64/26 of pool default", "is unaffine: its node n1 is not in the cluster")],
            id="no such node",
        ),
        pytest.param(
            Cluster(
                NODES,
                {
                    WEB: ClusterPod("n1", ("10.0.0.64",)),
                    ("a", "b"): ClusterPod("n1", ("10.0.0.64", "fd00::1")),
                    ("a", "c"): ClusterPod("n2", ("10.0.0.65", "192.0.2.1", "nonsense")),
                },
            ),
            [
                ("address 10.0.0.64", "is used twice: by pods a/b and default/web-1"),
                ("address 10.0.0.65", "is used by pod a/c, and not allocated"),
            ],
            id="twice, and unknown",
        ),
    ],
)
def test_find_unfit(cluster: Cluster, expected: list[tuple[str, str]]) -> None:
    assert [(item.subject, item.problem) for item in find_unfit(SNAPSHOT, cluster, [])] == expected


def test_a_leak_is_told_once() -> None:
    assert find_unfit(SNAPSHOT, Cluster(NODES, {}), [HELD]) == []


def test_what_is_no_pod_is_nobodys_orphan() -> None:
    """A container that was not Kubernetes' has no name to look for."""
    bare = msgspec.structs.replace(HELD, pod=PodRef())

    assert find_unfit(msgspec.structs.replace(SNAPSHOT, allocations=(bare,)), Cluster(NODES, {}), []) == []
