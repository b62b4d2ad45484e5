"""containerd and runc start and stop pods by way of our plugin, as a kubelet would have them do."""

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.netns_fixture import eventually, run_in
from tests.runtimes.conftest import ADDRESSES, Cluster
from tests.runtimes.containerd import IMAGE, containerd
from tests.runtimes.cri import Cri, HostPort, Pod
from tests.runtimes.images import BUSYBOX, PAGE, WEB_SERVER

pytestmark = pytest.mark.netns

PORT = 8080
RATES = {f"{way}{limit}": 100_000_000 for way in ("ingress", "egress") for limit in ("Rate", "Burst")}


TUNING = {"type": "tuning", "sysctl": {"net.ipv4.ip_default_ttl": "33"}}
BANDWIDTH = {"type": "bandwidth", **RATES}
REFERENCE_LIMIT = {"rate": 12_500_000, "burst": 12_500_000}
# What a kubelet takes for the capability; the runtime has no burst to tell.
LIMITED = {f"kubernetes.io/{way}-bandwidth": "10M" for way in ("ingress", "egress")}
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}


@pytest.mark.parametrize("way", ["through the agent", "in process"])
def test_the_life_of_two_pods(cluster: Cluster, tmp_path: Path, way: str) -> None:
    """The agent installs the plugin, with reference plugins behind it; host ports and limits are either's."""
    folders, is_asked = cluster.folders, way == "through the agent"
    program = folders.write_through_agent() if is_asked else folders.write_in_process()
    with containerd(cluster.place, tmp_path / "containerd", folders) as cri:
        assert not cri.is_network_ready()
        ours = {**cluster.plugin, "capabilities": {"bandwidth": True, "portMappings": True}}
        plugins = (ours, TUNING) if is_asked else (cluster.plugin, TUNING, BANDWIDTH, PORTMAP)
        with cluster.agent(program, *plugins, socket_path=None if is_asked else ""):
            eventually(cri.is_network_ready, bool)
            live(cluster, cri, {"rate": 1_250_000, "burst": 80_000} if is_asked else REFERENCE_LIMIT)


def live(cluster: Cluster, cri: Cri, limit: dict[str, int]) -> None:
    """Start two pods, have them talk, and end them."""
    web = cri.run_pod("web", cluster.place.cgroup, (HostPort(PORT, 80),))
    client = cri.run_pod("client", cluster.place.cgroup, annotations=LIMITED)
    assert limit in limits(cluster)
    addresses = [cri.address(pod) for pod in (web, client)]
    assert len(set(addresses)) == 2
    cri.start(web, IMAGE, *WEB_SERVER)
    container = cri.start(client, IMAGE, BUSYBOX, "sleep", "1000000")

    # Pod to pod on this node, and both ways between a pod of this node and one of the other.
    assert_fetches(cri, container, f"http://{addresses[0]}/")
    assert cri.exec(container, BUSYBOX, "ping", "-c", "1", "-W", "10", cluster.pod_address).code == 0
    eventually(lambda: cluster.is_reached(addresses[1]), bool)
    # The node's port: from another node, from the node itself, and from a pod on it.
    url = f"http://{ADDRESSES['n1']}:{PORT}/"
    assert [cluster.fetch(node, url) for node in (cluster.other, cluster.node)] == [PAGE, PAGE]
    assert_fetches(cri, container, url)
    assert cri.exec(container, BUSYBOX, "cat", "/proc/sys/net/ipv4/ip_default_ttl") == (0, "33\n")
    assert {*addresses, str(PORT)} <= set(cluster.traces(addresses, str(PORT)))

    for pod in (web, client):
        end(cri, pod)

    eventually(lambda: cluster.traces(addresses, str(PORT)), lambda traces: traces == [])
    assert_calls(cluster, web, client)


def limits(cluster: Cluster) -> list[dict[str, int]]:
    """Return the token buckets of the node's links."""
    queues = json.loads(run_in(cluster.node.path, "tc", "-json", "qdisc").stdout)
    options = [queue["options"] for queue in queues if queue["kind"] == "tbf"]
    return [{name: each[name] for name in ("rate", "burst")} for each in options]


def assert_fetches(cri: Cri, container: str, url: str) -> None:
    """Fetch the page as a container's own process."""
    assert cri.exec(container, BUSYBOX, "wget", "-q", "-O", "-", url) == (0, PAGE)


def end(cri: Cri, pod: Pod) -> None:
    """End a pod as a kubelet does, which stops it once more before it removes it."""
    cri.stop(pod)
    cri.stop(pod)
    cri.remove(pod)


def assert_calls(cluster: Cluster, *pods: Pod) -> None:
    """Each pod had one ADD, one DEL with its namespace and two without; all went well."""
    calls = Counter(cluster.folders.calls())
    expected = Counter(
        {
            (command, pod.sandbox, has_netns, 0): times
            for pod in pods
            for command, has_netns, times in (("ADD", True, 1), ("DEL", True, 1), ("DEL", False, 2))
        }
    )
    assert calls == expected
