"""Routes between nodes: from a new block to reachability, from a node's loss to withdrawal, throughput.

Nodes are namespaces on one segment, each with the real cni-agent (and, in mode bgp, its own BIRD in a full
mesh); all share one SQLite datastore and two processors, so that figures grow with the number of nodes as
they would not where each node is a machine. A block counts from the beginning of the transaction that claims
it until each peer has got an answer from an address in it. A loss is a Node that is deleted, or, with BGP,
one that is cut off. At 100 nodes two of them are route reflectors, as anybody would have it.

Throughput is one TCP connection between two pods; its peer is the same by hand: `ip route`, or a VXLAN link
with static entries. There, and among 10 and 10,000 blocks, rounds take turns, and the ratio is the median of
theirs.
"""

import argparse
import time
from contextlib import ExitStack
from pathlib import Path

from bench.figure import median, report
from bench.route_nodes import REFLECTED, Nodes, nodes, run_iperf
from ipam.model import Mode
from tests.netns_fixture import namespace, run_in

# BIRD 2 alone, a block announced to a unicast route on two peers, measured on this kernel (issue 7).
_BIRD_MS = 2.9
_GOALS = {
    ("direct", 3): 10, ("direct", 20): 30, ("direct", 100): 150,
    ("vxlan", 3): 10, ("vxlan", 20): 30, ("vxlan", 100): 150,
    ("bgp", 3): 20, ("bgp", 20): 100,
}  # fmt: skip
_MODES: tuple[Mode, ...] = ("direct", "vxlan", "cross-subnet", "bgp")
_QUICK_MODES: tuple[Mode, ...] = ("direct", "vxlan", "bgp")
_IPERF_PORT = 5201
_QUIET_S = 0.1
# A full mesh of 100 has 4,950 sessions, which nobody builds.
_MESH_ENDS = 100
# Deletions of manifests wait for so long a silence (nodeplane/kube/manifests.py).
_HELD_S = 0.2
_DELETION_GOALS = {3: 50, 20: 300, 100: 1500}
# 300 ms, three times, with up to one interval of each end's clock; a hold time, and a keepalive of it.
_DETECTIONS: tuple[tuple[str, dict[str, str], int], ...] = (
    ("BFD of 3 x 300 ms", {"bfd": "strict"}, 1200),
    ("no BFD, a hold time of 3 s", {"holdTime": "3s"}, 4000),
)
_SETTLING_S = 2.0


def convergence(mode: Mode, count: int, rounds: int) -> None:
    """Print how long a block's route and a node's withdrawal take."""
    is_bgp = mode == "bgp"
    is_reflected = is_bgp and count >= _MESH_ENDS
    with nodes(mode, count, bgp=REFLECTED if is_reflected else {}) as found:
        reached = [_new_block(found, number % count) for number in range(rounds + 1)][1:]
        withdrawn = [_lost_node(found) for _ in range(max(2, rounds // 3))]
    goal = _GOALS.get((mode, count))
    where = f"{mode}, {count} nodes" + (", 2 of them route reflectors" if is_reflected else "")
    report(
        f"new block to reachability from every peer, {where}",
        "ms",
        median(reached) * 1000,
        peer=_BIRD_MS if is_bgp else None,
        peer_name="bird2 alone, 3 namespaces, route only" if is_bgp else None,
        goal=f"ours <= {goal}" if goal else None,
    )
    report(
        f"deleted Node to withdrawal by every peer, {where}, less the {_HELD_S:g} s that manifests hold it",
        "ms",
        (median(withdrawn) - _HELD_S) * 1000,
        goal=f"ours <= {_DELETION_GOALS[count]}",
    )


def dead_node(rounds: int) -> None:
    """Print how long a node that is cut off keeps its routes on its peers."""
    for name, timers, goal_ms in _DETECTIONS:
        with nodes("bgp", 3, bgp={"nodes": timers}) as found:
            lost = [_cut_node(found) for _ in range(rounds)]
        report(
            f"node cut off to withdrawal by every peer, bgp, 3 nodes, {name}",
            "ms",
            median(lost) * 1000,
            goal=f"ours <= {goal_ms}",
        )


def many_routes(mode: Mode, rounds: int) -> None:
    """Print what one route change costs among 10,000 others, beside one among 10."""
    with nodes(mode, 3, 10) as few, nodes(mode, 3, 10_000) as many:
        samples = [[_new_block(found, 0) * 1000 for found in (few, many)] for _ in range(rounds + 2)][2:]
    report(
        f"new block to reachability, {mode}, 3 nodes, among 10,000 blocks",
        "ms",
        median([among_many for _, among_many in samples]),
        peer=median([among_few for among_few, _ in samples]),
        peer_name="the same among 10",
        ratio=median([among_many / among_few for among_few, among_many in samples]),
        goal="ratio <= 1.5",
    )


def throughput(mode: Mode, rounds: int, seconds: int) -> None:
    """Print what a TCP connection between two pods carries, beside the same routed by hand."""
    with ExitStack() as stack:
        ours = stack.enter_context(nodes(mode, 2))
        ends = _join_pods(stack, ours)
        by_hand = _by_hand(stack, mode)
        samples = []
        for _ in range(rounds):
            samples.append([run_iperf(*way, _IPERF_PORT, seconds) for way in (ends, by_hand)])
    report(
        f"TCP between pods of two nodes, {mode}",
        "Gbit/s",
        median([one for one, _ in samples]),
        peer=median([other for _, other in samples]),
        peer_name="the same by hand",
        ratio=median([one / other for one, other in samples]),
        goal="ratio >= 0.97",
    )


def _new_block(found: Nodes, owner: int) -> float:
    block = found.next_block()
    found.give_pod(block, owner)
    # Quiet before: an agent lets two changes that come at once wait for one another, and the address is one.
    time.sleep(_QUIET_S)
    return found.until_reached(block, owner, lambda: found.claim(owner))


def _lost_node(found: Nodes) -> float:
    last = len(found.names) - 1
    [block] = found.claim(last)
    found.until_reached(block, last, lambda: None)
    lost_s = found.until_withdrawn(block, last, lambda: found.write_nodes(absent=last))
    found.until_reached(block, last, found.write_nodes)
    return lost_s


def _cut_node(found: Nodes) -> float:
    last = len(found.names) - 1
    [block] = found.claim(last)
    found.until_reached(block, last, lambda: None)
    lost_s = found.until_withdrawn(block, last, lambda: found.cut(last))
    found.until_reached(block, last, lambda: found.join(last))
    # BFD and the other family's session are up again by then.
    time.sleep(_SETTLING_S)
    return lost_s


def _join_pods(stack: ExitStack, found: Nodes) -> tuple[Path, Path, str]:
    """Give each of two nodes a pod in a new block, and wait for the way between them."""
    blocks = [found.claim(number)[0] for number in range(2)]
    pods = [_pod(stack, found.paths[number], str(blocks[number][2]), found.mode) for number in range(2)]
    for number in range(2):
        found.until_reached(blocks[number], number, lambda: None)
    return pods[0], pods[1], str(blocks[1][2])


def _by_hand(stack: ExitStack, mode: Mode) -> tuple[Path, Path, str]:
    """Build the same with iproute2."""
    fabric = stack.enter_context(namespace("hand"))
    _shell(fabric, "ip link add segment type bridge; ip link set segment up")
    hosts = [stack.enter_context(namespace(f"h{number}")) for number in range(2)]
    pods = []
    for number, host in enumerate(hosts):
        _shell(
            fabric,
            f"ip link add p{number} type veth peer name eth0 netns {host.name}; "
            f"ip link set p{number} master segment; ip link set p{number} up",
        )
        peer = 1 - number
        _shell(
            host,
            f"ip addr add 10.98.0.{10 + number}/24 dev eth0; ip link set eth0 up; "
            "sysctl -qw net.ipv4.ip_forward=1",
        )
        if mode == "vxlan":
            _shell(
                host,
                f"ip link add vx type vxlan id 7 dstport 4789 local 10.98.0.{10 + number} nolearning; "
                f"ip link set vx address 02:00:00:00:00:0{number} mtu 1450 up; "
                f"ip addr add 10.97.0.{10 + number}/32 dev vx; "
                f"bridge fdb add 02:00:00:00:00:0{peer} dev vx dst 10.98.0.{10 + peer}; "
                f"ip neigh add 10.97.0.{10 + peer} lladdr 02:00:00:00:00:0{peer} dev vx; "
                f"ip route add 10.97.{peer + 1}.0/26 via 10.97.0.{10 + peer} dev vx onlink",
            )
        else:
            _shell(host, f"ip route add 10.97.{peer + 1}.0/26 via 10.98.0.{10 + peer}")
        pods.append(_pod(stack, host, f"10.97.{number + 1}.2", mode))
    return pods[0], pods[1], "10.97.2.2"


def _pod(stack: ExitStack, node: Path, address: str, mode: Mode) -> Path:
    pod = stack.enter_context(namespace("pod"))
    mtu = 1450 if mode in {"vxlan", "cross-subnet"} else 1500
    _shell(
        node,
        f"ip link add pod type veth peer name eth0 netns {pod.name}; ip link set pod mtu {mtu} up; "
        f"sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.pod.proxy_arp=1 net.ipv4.neigh.pod.proxy_delay=0; "
        f"ip route add {address}/32 dev pod",
    )
    _shell(
        pod,
        f"ip addr add {address}/32 dev eth0; ip link set eth0 mtu {mtu} up; "
        "ip route add 169.254.1.1 dev eth0; ip route add default via 169.254.1.1 dev eth0",
    )
    _shell(node, "ip route replace local 169.254.1.1 dev lo")
    return pod


def _shell(place: Path, script: str) -> None:
    done = run_in(place, "sh", "-ec", script)
    assert done.returncode == 0, f"{script}: {done.stderr}"


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer nodes, modes and rounds: under a minute")
    arguments = parser.parse_args()
    if arguments.quick:
        for mode in _QUICK_MODES:
            convergence(mode, 3, 6)
        convergence("direct", 20, 3)
        dead_node(2)
        throughput("direct", 3, 1)
        return
    for count, rounds in ((3, 20), (20, 10), (100, 5)):
        for mode in _MODES:
            convergence(mode, count, rounds)
    dead_node(5)
    for mode in _QUICK_MODES:
        many_routes(mode, 20)
    for mode in _QUICK_MODES:
        throughput(mode, 9, 1)


if __name__ == "__main__":
    main()
