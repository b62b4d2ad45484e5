"""Cost of a full load and of one endpoint change, as the cluster grows.

Ours: objects through kubeproxy's reconciler into this kernel, in a network namespace of our own. Peer: the
same services in kube-proxy's layout (a chain for each service port, a map of verdicts) through `nft -f -`, in
another namespace. In a change, ours goes from the EndpointSlice event to the committed kernel state; the
peer replaces the rules of the one service's chain.
"""

import argparse
import subprocess
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

from bench.figure import median, report
from kubeproxy.layout import TABLE
from kubeproxy.proxier import FamilyProxier, Proxier
from nodeplane.datapath import netns
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.kube.objects import (
    SERVICE_NAME_LABEL,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Metadata,
    Service,
    ServicePort,
    ServiceSpec,
)
from nodeplane.kube.source import Change
from tests.netns_fixture import namespace

_ENDPOINTS = 4
_CHANGES = 200


def service(number: int) -> Service:
    """Build the Service of that number."""
    address = str(IPv4Address("10.96.0.0") + number + 1)
    spec = ServiceSpec(cluster_ip=address, raw_ports=(ServicePort(port=80, name="http"),))
    return Service(Metadata(name=f"service-{number}", namespace="bench"), spec)


def endpoint_slice(number: int, count: int = _ENDPOINTS) -> EndpointSlice:
    """Build the slice of the Service of that number, with so many endpoints."""
    first = IPv4Address("10.128.0.0") + number * 8
    return EndpointSlice(
        Metadata(
            name=f"service-{number}-a", namespace="bench", labels={SERVICE_NAME_LABEL: f"service-{number}"}
        ),
        address_type="IPv4",
        raw_endpoints=tuple(
            Endpoint((str(first + index),), node_name=f"node-{index}") for index in range(count)
        ),
        raw_ports=(EndpointPort(name="http", port=8080),),
    )


def snapshot(services: int) -> Iterator[Change]:
    """Yield the additions of a cluster of so many services."""
    for number in range(services):
        for item in (service(number), endpoint_slice(number)):
            yield Change(item.key, None, item)


def measure_ours(services: int, rounds: int) -> tuple[float, list[float], list[float]]:
    """Return seconds of a full load, and of each change: from event to kernel, and its commit alone."""
    objects = tuple(snapshot(services))
    loads = []
    with KernelTable("ip", TABLE) as edge:
        for _ in range(rounds):
            edge.delete()
            started = time.perf_counter()
            family = FamilyProxier("ip", edge)
            proxier = Proxier("node-0", [family])
            proxier.take(objects)
            proxier.sync(full=True)
            loads.append(time.perf_counter() - started)
        changes, commits = [], []
        for number in range(_CHANGES):
            victim = number * 7919 % services
            before, after = endpoint_slice(victim), endpoint_slice(victim, _ENDPOINTS + 1)
            for old, new in ((before, after), (after, before)):
                started = time.perf_counter()
                proxier.take((Change(new.key, old, new),))
                change = family.plan(full=False)
                planned = time.perf_counter()
                family.apply(change)
                finished = time.perf_counter()
                changes.append(finished - started)
                commits.append(finished - planned)
        edge.delete()
    return median(loads), changes, commits


def peer_chain(number: int, count: int) -> str:
    """Return the commands that fill one service's chain, as kube-proxy writes them."""
    first = IPv4Address("10.128.0.0") + number * 8
    targets = ", ".join(f"{index} : {first + index} . 8080" for index in range(count))
    chain = f"service-{number:08X}-bench/service-{number}/tcp/http"
    match = f"meta l4proto tcp dnat ip addr . port to numgen random mod {count}"
    return f"add rule ip peer {chain} {match} map {{ {targets} }}\n"


def measure_peer(services: int) -> tuple[float, list[float]]:
    """Return seconds of a full load and of each change through `nft -f -`."""
    text = [
        "add table ip peer\n",
        "add map ip peer service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }\n",
        "add chain ip peer services\n",
        "add chain ip peer nat-prerouting { type nat hook prerouting priority -100 ; }\n",
        "add rule ip peer nat-prerouting jump services\n",
        "add rule ip peer services ip daddr . meta l4proto . th dport vmap @service-ips\n",
    ]
    for number in range(services):
        chain = f"service-{number:08X}-bench/service-{number}/tcp/http"
        address = IPv4Address("10.96.0.0") + number + 1
        text.append(f"add chain ip peer {chain}\n")
        text.append(peer_chain(number, _ENDPOINTS))
        text.append(f"add element ip peer service-ips {{ {address} . tcp . 80 : goto {chain} }}\n")
    load = _nft("".join(text))
    changes = []
    for number in range(5):
        victim = number * 7919 % services
        chain = f"service-{victim:08X}-bench/service-{victim}/tcp/http"
        changes.append(_nft(f"flush chain ip peer {chain}\n" + peer_chain(victim, _ENDPOINTS + 1)))
    return load, changes


def _nft(commands: str) -> float:
    started = time.perf_counter()
    subprocess.run(["nft", "-f", "-"], input=commands, text=True, check=True, capture_output=True)
    return time.perf_counter() - started


def measure(services: int, *, with_peer: bool, rounds: int) -> float:
    """Report all figures for one size; return the median commit in seconds."""
    with namespace() as ours, netns.inside(ours):
        load, changes, commits = measure_ours(services, rounds)
    peer_load: float | None = None
    peer_change: float | None = None
    if with_peer:
        with namespace() as peers, netns.inside(peers):
            peer_load, samples = measure_peer(services)
            peer_change = median(samples) * 1000
    peer_name = "chain per service through nft -f -" if with_peer else None
    report(f"kubeproxy_load_{services}", "s", load, peer=peer_load, peer_name=peer_name)
    report(
        f"kubeproxy_change_{services}",
        "ms",
        median(changes) * 1000,
        peer=peer_change,
        peer_name=peer_name,
    )
    report(f"kubeproxy_commit_{services}", "ms", median(commits) * 1000, goal="ours <= 1")
    return median(commits)


def main() -> None:
    """Measure 1,000 and 10,000 services."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="leave out the peer at 10,000 services (over a minute)"
    )
    arguments = parser.parse_args()
    rounds = 1 if arguments.quick else 3
    small = measure(1_000, with_peer=True, rounds=rounds)
    large = measure(10_000, with_peer=not arguments.quick, rounds=rounds)
    report("kubeproxy_commit_growth", "10,000 services : 1,000", large / small, goal="ours <= 1.5")


if __name__ == "__main__":
    main()
