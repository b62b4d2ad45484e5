"""podman starts and stops containers by way of our plugin."""

from collections import Counter
from pathlib import Path

import pytest

from cni.agent.conflist import NAME
from tests.netns_fixture import eventually
from tests.runtimes.conftest import ADDRESSES, Cluster
from tests.runtimes.images import BUSYBOX, PAGE, WEB_SERVER
from tests.runtimes.podman import Podman, podman

pytestmark = pytest.mark.netns

PORT = 8081


@pytest.mark.parametrize("is_ours", [pytest.param(True, id="ours"), pytest.param(False, id="portmap")])
def test_the_life_of_two_containers(cluster: Cluster, tmp_path: Path, is_ours: bool) -> None:
    """Its ports are our plugin's, or the reference plugin's behind ours."""
    folders = cluster.folders
    ports = {"capabilities": {"portMappings": True}}
    plugins = ({**cluster.plugin, **ports},) if is_ours else (cluster.plugin, {"type": "portmap", **ports})
    with cluster.agent(folders.write_through_agent(), *plugins):
        eventually((folders.conf / NAME).exists, bool)
        live(cluster, podman(cluster.place, tmp_path / "podman", folders))


def live(cluster: Cluster, runtime: Podman) -> None:
    """Start two containers, have them talk, and end them."""
    runtime.start("web", *WEB_SERVER, ports=(f"{PORT}:80",))
    runtime.start("client")
    addresses = [runtime.address(name) for name in ("web", "client")]
    assert len(set(addresses)) == 2

    url = f"http://{ADDRESSES['n1']}:{PORT}/"
    for each in (f"http://{addresses[0]}/", url):
        assert runtime.run("exec", "client", BUSYBOX, "wget", "-q", "-O", "-", each) == PAGE.strip()
    runtime.run("exec", "client", BUSYBOX, "ping", "-c", "1", "-W", "10", cluster.pod_address)
    eventually(lambda: cluster.is_reached(addresses[1]), bool)
    assert [cluster.fetch(node, url) for node in (cluster.other, cluster.node)] == [PAGE, PAGE]
    assert {*addresses, str(PORT)} <= set(cluster.traces(addresses, str(PORT)))

    runtime.run("rm", "--force", "--time", "0", "web", "client")

    eventually(lambda: cluster.traces(addresses, str(PORT)), lambda traces: traces == [])
    calls = Counter((call.command, call.code) for call in cluster.folders.calls())
    # How often it asks for versions is its own affair.
    assert calls.pop(("VERSION", 0)) > 0
    assert calls == {("ADD", 0): 2, ("DEL", 0): 2}
