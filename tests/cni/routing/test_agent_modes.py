"""`cni-agent run` in each mode of a pool: real processes, routes and packets."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from ipam.model import Mode
from nodeplane.datapath.rtnl import FdbEntry, Neighbour
from nodeplane.datapath.sysctl import KernelSysctls
from nodeplane.errors import KernelNotFoundError
from tests.cni.routing.lookups import lookups
from tests.cni.routing.racks import ADDRESSES, Racks, racks
from tests.netns_fixture import answers, eventually, run_in
from tests.ready_process import stop

pytestmark = pytest.mark.netns


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Racks]:
    with racks(tmp_path) as built:
        yield built


@pytest.mark.parametrize("mode", ["vxlan", "cross-subnet"])
def test_pods_of_all_nodes_reach_one_another(nodes: Racks, mode: Mode) -> None:
    nodes.set_mode(mode)
    pods = {node: nodes.assign(node) for node in ADDRESSES}
    for node in ADDRESSES:
        nodes.run_agent(node)

    nodes.converge(mode, *ADDRESSES)
    for node in ADDRESSES:
        for addresses in pods.values():
            for address in addresses:
                eventually(lambda n=node, a=address: answers(nodes.paths[n], str(a)), bool)  # type: ignore[misc]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(["direct", "vxlan", "direct"], id="to vxlan and back"),
        pytest.param(["vxlan", "cross-subnet", "vxlan"], id="across subnets and back"),
    ],
)
def test_a_mode_that_changes_is_followed(nodes: Racks, path: list[Mode]) -> None:
    """While the agents run; the routes are replaced, so that no packet finds none."""
    nodes.set_mode(path[0])
    pods = {node: nodes.assign(node) for node in ("n1", "n2")}
    for node in pods:
        nodes.run_agent(node)
    nodes.converge(path[0], "n1", "n2")
    with lookups(nodes.paths["n1"], pods["n2"]) as lost:
        for mode in path[1:]:
            nodes.set_mode(mode)
            nodes.converge(mode, "n1", "n2")
            assert answers(nodes.paths["n1"], str(pods["n2"][0]))
            assert answers(nodes.paths["n1"], str(pods["n2"][1]))
        assert lost() == []


def test_the_links_go_with_the_last_pool_that_needs_them(nodes: Racks) -> None:
    nodes.set_mode("vxlan")
    nodes.assign("n2")
    nodes.run_agent("n2")
    eventually(lambda: set(nodes.tunnels()), lambda found: found == {("n2", 4), ("n2", 6)})
    eventually(lambda: vxlan_links(nodes, "n2"), lambda names: names == {"np-vxlan4", "np-vxlan6"})

    nodes.set_mode("direct", 4)
    eventually(lambda: vxlan_links(nodes, "n2"), lambda names: names == {"np-vxlan6"})
    eventually(lambda: set(nodes.tunnels()), lambda found: found == {("n2", 6)})

    nodes.set_mode("direct", 6)
    eventually(lambda: vxlan_links(nodes, "n2"), lambda names: names == set())
    eventually(lambda: set(nodes.tunnels()), lambda found: found == set())


DAMAGE = [
    "ip route flush proto 110",
    "ip -6 route flush proto 110",
    "ip neigh flush dev np-vxlan4 nud permanent",
    "ip -6 neigh flush dev np-vxlan6 nud permanent",
    "bridge fdb flush dev np-vxlan4",
    "ip link del np-vxlan4",
    "ip link del np-vxlan6",
    "ip link set np-vxlan6 down",
    "ip addr flush dev np-vxlan4",
]


def test_damage_is_repaired_and_what_is_foreign_stays(nodes: Racks) -> None:
    nodes.set_mode("vxlan")
    for node in ("n1", "n2"):
        nodes.assign(node)
    nodes.run_agent("n1")
    nodes.run_agent("n2")
    nodes.converge("vxlan", "n1")
    foreign = "ip neigh add 192.0.2.77 dev eth0 lladdr 02:00:00:00:00:77 nud permanent"
    assert run_in(nodes.paths["n1"], *foreign.split()).returncode == 0
    before = eventually(lambda: everything(nodes, "n1"), lambda found: len(found[1]) == 4)

    for command in DAMAGE:
        done = run_in(nodes.paths["n1"], *command.split())
        assert done.returncode == 0, (command, done.stderr)
        eventually(lambda: everything(nodes, "n1"), lambda found: found == before)

    sysctls = KernelSysctls(nodes.paths["n1"])
    for setting in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
        sysctls.write(setting, 0)
        eventually(partial(sysctls.read, setting), lambda value: value == "1")

    stray = "bridge fdb append 02:00:00:00:00:99 dev np-vxlan4 dst 192.0.2.99 self permanent"
    assert run_in(nodes.paths["n1"], *stray.split()).returncode == 0
    eventually(lambda: everything(nodes, "n1"), lambda found: found == before)
    assert "192.0.2.77" in run_in(nodes.paths["n1"], "ip", "neigh", "show", "nud", "permanent").stdout


def test_a_changed_node_address_and_a_flap(nodes: Racks) -> None:
    nodes.set_mode("vxlan")
    pods = {node: nodes.assign(node) for node in ("n1", "n2")}
    for node in pods:
        nodes.run_agent(node)
    nodes.converge("vxlan", "n1", "n2")

    for command in ("ip link set eth0 down", "ip link set eth0 up"):
        run_in(nodes.paths["n1"], *command.split())
    run_in(nodes.paths["n1"], "ip", "addr", "add", "2001:db8:1::1/64", "dev", "eth0", "nodad")
    for address in pods["n2"]:
        eventually(lambda a=address: answers(nodes.paths["n1"], str(a), 0.3), bool)  # type: ignore[misc]

    run_in(nodes.paths["n2"], "ip", "addr", "del", "192.0.2.2/24", "dev", "eth0")
    run_in(nodes.paths["n2"], "ip", "addr", "add", "192.0.2.22/24", "dev", "eth0")
    nodes.write_nodes({**ADDRESSES, "n2": ("192.0.2.22", ADDRESSES["n2"][1])})
    eventually(lambda: answers(nodes.paths["n1"], str(pods["n2"][0]), 0.3), bool)
    vxlan = nodes.rtnl("n2").find_vxlan("np-vxlan4")
    assert vxlan is not None
    assert str(vxlan.local) == "192.0.2.22"


def test_a_restart_finds_all_as_it_was(nodes: Racks) -> None:
    """What the agent left stays when it ends, and is not written again."""
    nodes.set_mode("cross-subnet")
    for node in ADDRESSES:
        nodes.assign(node)
    processes = {node: nodes.run_agent(node) for node in ADDRESSES}
    nodes.converge("cross-subnet", *ADDRESSES)
    before = {node: everything(nodes, node) for node in ADDRESSES}

    assert stop(processes["n1"])[0] == 0
    assert everything(nodes, "n1") == before["n1"]
    again = nodes.run_agent("n1")

    assert everything(nodes, "n1") == before["n1"]
    _, log = stop(again)
    assert "routes synced" not in log
    assert "tunnels synced" not in log


def vxlan_links(nodes: Racks, node: str) -> set[str]:
    return {link.name for link in nodes.rtnl(node).links().values() if link.kind == "vxlan"}


Everything = tuple[dict[str, str], set[Neighbour | FdbEntry], list[object]]


def everything(nodes: Racks, node: str) -> Everything:
    """Return routes, entries, and what the VXLAN links are; while a link is made anew, what there is."""
    rtnl = nodes.rtnl(node)
    entries: set[Neighbour | FdbEntry] = set()
    links: list[object] = []
    try:
        for name in sorted(vxlan_links(nodes, node)):
            family = 4 if name.endswith("4") else 6
            entries |= {*rtnl.neighbours(name, family), *rtnl.fdb(name)}  # type: ignore[arg-type]
            link = rtnl.link(name)
            addresses = {str(item) for item in rtnl.addresses(name, family)}  # type: ignore[arg-type]
            links.append((name, link.mac, link.mtu_bytes, link.is_up, addresses, rtnl.find_vxlan(name)))
        return nodes.ways(node), entries, links
    except KernelNotFoundError:
        return {}, set(), []
