"""`cni-agent run` looks after the links of its node's pods: real processes, links and packets."""

import random
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nodeplane.datapath import netns
from nodeplane.datapath.sysctl import KernelSysctls
from tests.cni.agent_process import agent
from tests.cni.conftest import Node, address_of
from tests.netns_fixture import answers, eventually, namespace, run_in

pytestmark = pytest.mark.netns

IPAMCTL = str(Path(sys.executable).with_name("ipamctl"))
GATEWAY = "169.254.1.1"
ADDRESS_6 = "2001:db8:5::5"


@contextmanager
def running(node: Node, folder: Path) -> Iterator[None]:
    """Run the node's agent."""
    config = folder / "agent.yaml"
    config.write_text(f"datastore: {node.datastore}\n")
    with agent(node.path, "n1", config, None):
        yield


def pod_routes(node: Node) -> list[str]:
    """Return the node's routes that are the plugin's."""
    return [line for line in node.routes() if not line.startswith("blackhole")]


def wipe_routes(node: Node, _name: str) -> None:
    run_in(node.path, "ip", "route", "flush", "proto", "110")


def wipe_settings(node: Node, name: str) -> None:
    KernelSysctls(node.path).write(f"net.ipv4.conf.{name}.proxy_arp", 0)
    wipe_routes(node, name)


@pytest.mark.parametrize("damage", [wipe_routes, wipe_settings])
@pytest.mark.parametrize("is_running", [pytest.param(True, id="running"), pytest.param(False, id="stopped")])
def test_damage_is_repaired(
    node: Node, pod: Path, tmp_path: Path, damage: Callable[[Node, str], None], is_running: bool
) -> None:
    """At once, or when the agent starts."""
    node.add(pod)
    [name], before = node.links(), pod_routes(node)
    assert answers(pod, GATEWAY)

    if is_running:
        with running(node, tmp_path):
            damage(node, name)
            eventually(lambda: pod_routes(node), lambda routes: routes == before)
    else:
        damage(node, name)
        assert pod_routes(node) == []
        with running(node, tmp_path):
            eventually(lambda: pod_routes(node), lambda routes: routes == before)

    assert KernelSysctls(node.path).read(f"net.ipv4.conf.{name}.proxy_arp") == "1"
    assert answers(pod, GATEWAY)


def delete_route_6(node: Node, _name: str) -> None:
    run_in(node.path, "ip", "-6", "route", "del", ADDRESS_6, "proto", "110")


def delete_gateway_6(node: Node, name: str) -> None:
    run_in(node.path, "ip", "address", "flush", "dev", name)


def switch_ipv6_off(node: Node, name: str) -> None:
    KernelSysctls(node.path).write(f"net.ipv6.conf.{name}.disable_ipv6", 1)


def flap(node: Node, name: str) -> None:
    run_in(node.path, "ip", "-batch", "-", stdin=f"link set {name} down\nlink set {name} up\n")


def both_families(node: Node, name: str) -> list[str]:
    """Return what the pod's link has, on the node's side."""
    routes = run_in(node.path, "ip", "-6", "route", "show", "dev", name, "proto", "110").stdout
    addresses = run_in(node.path, "ip", "-6", "-brief", "address", "show", "dev", name).stdout
    return [*pod_routes(node), *routes.split(), *addresses.split()]


@pytest.mark.parametrize("damage", [delete_route_6, delete_gateway_6, switch_ipv6_off, flap])
def test_damage_to_ipv6_is_heard(
    node: Node, pod: Path, tmp_path: Path, damage: Callable[[Node, str], None]
) -> None:
    """And not found at the next look, ten minutes later."""
    dual_stack = [
        *node.config["ipam"]["pools"],
        {"name": "six", "cidr": "2001:db8:5::5/128", "blockSize": 128},
    ]
    node.add(pod, config={"ipam": {**node.config["ipam"], "pools": dual_stack}})
    [name] = node.links()
    before = both_families(node, name)
    assert ADDRESS_6 in before
    assert "fe80::ecee:eeff:feee:eeee/64" in before

    with running(node, tmp_path):
        # The look at the start is over, as it has done what it found to do.
        KernelSysctls(node.path).write(f"net.ipv4.conf.{name}.proxy_arp", 0)
        wipe_routes(node, name)
        eventually(
            lambda: KernelSysctls(node.path).read(f"net.ipv4.conf.{name}.proxy_arp"),
            lambda value: value == "1",
        )
        eventually(lambda: both_families(node, name), lambda found: found == before)
        damage(node, name)
        assert both_families(node, name) != before
        eventually(lambda: both_families(node, name), lambda found: found == before)


def count_up(node: Node) -> None:
    """Make links, so that the node's next one has an index that those of other tests' nodes have not."""
    lines = (f"link add b{number} type bridge\n" for number in range(random.randrange(50, 300)))
    run_in(node.path, "ip", "-batch", "-", stdin="".join(lines))


def test_an_orphan_is_removed(node: Node, tmp_path: Path) -> None:
    """Its namespace has neither name nor process, and IPAM has freed its address; its neighbour stays."""
    count_up(node)
    with namespace("pod") as neighbour, running(node, tmp_path):
        node.add(neighbour, container="c2", args="K8S_POD_NAMESPACE=default;K8S_POD_NAME=neighbour")
        kept = node.links()
        with namespace("gone") as gone:
            address = address_of(node.add(gone))
            with netns.inside(gone):
                holder = socket.socket()
        with holder:
            assert len(node.links()) == 2
            freed = run_in(node.path, IPAMCTL, "release", address, "--datastore", node.datastore)
            assert freed.returncode == 0, freed.stderr
            # Something that makes it look.
            wipe_routes(node, "")
            eventually(node.links, lambda links: links == kept)
            assert answers(neighbour, GATEWAY)
