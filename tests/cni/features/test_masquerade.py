"""natOutgoing with real packets: which source a host outside, the node and other pods see."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from cni.features.node_table import NAME
from nodeplane.datapath import netns
from nodeplane.datapath.nft.kernel import KernelTable
from tests.cni.conftest import IN_PROCESS, Node
from tests.cni.echo_pod import echoing
from tests.cni.host_port_world import NODE, OUTSIDE, POOLS, SECOND, World, run, world
from tests.kubeproxy.matrix.asking import Protocol, ask
from tests.netns_fixture import run_in

pytestmark = pytest.mark.netns

MASQUERADED = [{**pool, "natOutgoing": True} for pool in POOLS]
# Outside hosts that have an address of another pool, and one near the link.
ELSEWHERE = {4: "10.77.0.9", 6: "fd00:77::9"}


@pytest.fixture
def way() -> str:
    return IN_PROCESS


@pytest.fixture
def there(node: Node) -> Iterator[World]:
    with ExitStack() as stack:
        built = stack.enter_context(world(node))
        for version, length in ((4, 32), (6, 128)):
            nodad = " nodad" if version == 6 else ""
            run(built.outside, f"ip address add {ELSEWHERE[version]}/{length} dev lo{nodad}")
            run(node.path, f"ip route add {ELSEWHERE[version]}/{length} via {OUTSIDE[version]}")
        # So that what keeps its address is answered as well.
        for version, cidr in ((4, "10.244.0.0/16"), (6, "fd00:10:244::/64")):
            run(built.outside, f"ip route add {cidr} via {NODE[version]}")
        for name, ns, hosts in (
            ("outside", built.outside, OUTSIDE),
            ("elsewhere", built.outside, ELSEWHERE),
            ("node", node.path, NODE),
        ):
            stack.enter_context(echoing(ns, name, hosts=hosts))
        yield built


def sources(there: World, protocol: Protocol) -> dict[tuple[str, int], str]:
    """Return which source of c1's each server saw, "pod" and "node" for their addresses."""
    found = {}
    for version in (4, 6):
        # Which of the node's addresses it is, the kernel decides.
        names = {there.addresses["c1"][version]: "pod", NODE[version]: "node", SECOND[version]: "node"}
        for who, host in (
            ("outside", OUTSIDE[version]),
            ("elsewhere", ELSEWHERE[version]),
            ("node", NODE[version]),
            ("pod", there.addresses["c2"][version]),
        ):
            answer = ask(there.pods["c1"], protocol, host, 8080, version).answer
            assert isinstance(answer, tuple), (who, version, answer)
            found[who, version] = names[answer[1]]
    return found


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
def test_what_leaves_the_cluster(there: World, protocol: Protocol) -> None:
    """The node's address outside, the pod's own for pods and for the node."""
    for name in ("c1", "c2"):
        there.add(name, ipam={**there.node.config["ipam"], "pools": MASQUERADED})

    assert sources(there, protocol) == {
        (who, version): "node" if who in {"outside", "elsewhere"} else "pod"
        for who in ("outside", "elsewhere", "node", "pod")
        for version in (4, 6)
    }


def test_a_destination_in_another_pool(there: World) -> None:
    """That of a pool without natOutgoing is one of the cluster's all the same."""
    more = [{"name": "far", "cidr": "10.77.0.0/24"}, {"name": "far6", "cidr": "fd00:77::/64"}]
    for name in ("c1", "c2"):
        there.add(name, ipam={**there.node.config["ipam"], "pools": [*MASQUERADED, *more]})

    seen = sources(there, "udp")

    assert {who for (who, _), source in seen.items() if source == "node"} == {"outside"}


def test_without_nat_outgoing(there: World) -> None:
    """Nobody asked for it: nothing is translated."""
    for name in ("c1", "c2"):
        there.add(name)

    assert set(sources(there, "tcp").values()) == {"pod"}


def test_one_family_alone(there: World) -> None:
    for name in ("c1", "c2"):
        there.add(name, ipam={**there.node.config["ipam"], "pools": [MASQUERADED[0], POOLS[1]]})

    seen = sources(there, "tcp")

    assert {key for key, source in seen.items() if source == "node"} == {("outside", 4), ("elsewhere", 4)}


def test_what_stays_on_the_link(there: World) -> None:
    """Link-local and multicast destinations are left alone."""
    there.add("c1", ipam={**there.node.config["ipam"], "pools": MASQUERADED})
    listed = run_in(there.node.path, "nft", "list", "chain", "inet", NAME, "leaving-ip").stdout
    assert "ip daddr 224.0.0.0/4 return" in listed
    assert "ip daddr 169.254.0.0/16 return" in listed
    run(there.node.path, "ip address add 169.254.7.1/24 dev eth0")
    run(there.outside, "ip address add 169.254.7.2/24 dev eth0")

    with echoing(there.outside, "near", hosts={4: "169.254.7.2"}):
        answer = ask(there.pods["c1"], "udp", "169.254.7.2", 8080, 4).answer

    assert answer == ("near", there.addresses["c1"][4])


def test_pools_are_only_added(there: World) -> None:
    """A plugin without an agent joins ranges that meet, and takes none away."""
    ipam = there.node.config["ipam"]
    there.add("c1", ipam={**ipam, "pools": [{**MASQUERADED[0], "cidr": "10.244.0.0/17"}]})
    there.add("c2", ipam={**ipam, "pools": [{**MASQUERADED[0], "name": "b", "cidr": "10.244.128.0/17"}]})

    state = there.table()

    assert state is not None
    whole = bytes((10, 244, 0, 0)), bytes((10, 244, 255, 255))
    assert state.elements["masqueraded-ip"].keys() | state.elements["pools-ip"].keys() <= {
        b"".join(whole),
        bytes((10, 244, 0, 0, 10, 244, 127, 255)),
        bytes((10, 244, 128, 0, 10, 244, 255, 255)),
    }
    covered = sum(
        int.from_bytes(key[4:], "big") - int.from_bytes(key[:4], "big") + 1
        for key in state.elements["masqueraded-ip"]
    )
    assert covered == 1 << 16


def test_the_kernel_takes_random_ports(there: World) -> None:
    there.add("c1", ipam={**there.node.config["ipam"], "pools": MASQUERADED})

    listed = run_in(there.node.path, "nft", "list", "chain", "inet", NAME, "leaving-ip6").stdout

    assert "masquerade fully-random" in listed
    with netns.inside(there.node.path), KernelTable("inet", NAME) as table:
        assert table.delete()
