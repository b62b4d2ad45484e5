"""What a service costs its clients: new connections through a VIP, and throughput, as the cluster grows.

A client, a node that forwards, and a server in three network namespaces, for each variant:
  direct        the client connects to the endpoint; empty nat chains on the node, so conntrack is on
  ours          the client connects to a VIP among so many services, translated by kubeproxy's table
  one rule      the client connects to a VIP that one rule translates: the least that any such layout costs
  iptables-nft  the same with a ruleset of kube-proxy's shape (iptables mode); the VIP's rule is the last
Variants take turns within a round, and a ratio is the median of the rounds' ratios: other load on the machine
then meets all alike. The loop that connects is a small C program, or without a compiler a lean one in Python;
the unit says which.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from ipaddress import IPv6Address
from pathlib import Path

import msgspec

from bench import cluster_feeds as feeds
from bench import cluster_objects as objects
from bench.connect_loop import ConnectLoop, Run
from bench.figure import median, report
from bench.iptables_rules import Published, render
from bench.path_namespaces import IPV4, IPV6, Addresses, trio
from kubeproxy.family_proxier import FamilyProxier
from kubeproxy.proxier import Proxier
from kubeproxy.rules.layout import TABLE
from nodeplane.datapath import netns
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.kube.objects import EndpointSlice, Service
from nodeplane.kube.source import Change
from tests.netns_fixture import eventually, run_in

_BULK_PORT = 5201
_DIRECT = "direct, conntrack on"

_EMPTY_NAT = """
add table inet direct
add chain inet direct prerouting { type nat hook prerouting priority -100 ; }
add chain inet direct output { type nat hook output priority -100 ; }
add chain inet direct postrouting { type nat hook postrouting priority 100 ; }
"""


class Variant(msgspec.Struct, frozen=True):
    """One way from a client to the server."""

    name: str
    target: str
    port: int
    client: Path
    server: Path


def filler(services: int, family: Family) -> list[Change]:
    """Build the services that nobody connects to."""
    items: list[Service | EndpointSlice] = []
    for number in range(services):
        if family == "ip":
            value, piece = objects.service(number), objects.endpoint_slice(number)
        else:
            first = IPv6Address("fd00:128::") + number * 8
            value = objects.service(number, str(IPv6Address("fd00:96::1:0") + number))
            piece = objects.endpoint_slice(number, [str(first + index) for index in range(4)])
        items += [feeds.as_service(value), feeds.as_slice(piece)]
    return [Change(item.key, None, item) for item in items]


def measured(at: Addresses, number: int) -> list[Change]:
    """Build the service that clients connect to, and one with a single endpoint for throughput."""
    web, web_slice = objects.service(number, at.vip), objects.endpoint_slice(number, at.endpoints)
    bulk, bulk_slice = (
        objects.service(number + 1, at.bulk_vip),
        objects.endpoint_slice(number + 1, at.endpoints[:1]),
    )
    protocols = ("TCP", "UDP")
    bulk["spec"]["ports"] = [
        {"name": protocol.lower(), "protocol": protocol, "port": _BULK_PORT} for protocol in protocols
    ]
    bulk_slice["ports"] = [
        {"name": protocol.lower(), "protocol": protocol, "port": _BULK_PORT} for protocol in protocols
    ]
    items = (
        *map(feeds.as_service, (web, bulk)),
        *map(feeds.as_slice, (web_slice, bulk_slice)),
    )
    return [Change(item.key, None, item) for item in items]


def load_ours(node: Path, at: Addresses, changes: Sequence[Change]) -> None:
    """Write kubeproxy's table."""
    with netns.inside(node), KernelTable(at.family, TABLE) as edge:
        proxier = Proxier("node-0", [FamilyProxier(at.family, edge)])
        proxier.take(tuple(changes))
        proxier.sync(full=True)


def load_iptables(node: Path, services: int) -> None:
    """Write a ruleset of kube-proxy's shape; the service that clients connect to comes last."""
    published = [
        Published(
            f"team/service-{number}:http",
            objects.cluster_ip(number),
            objects.PORT,
            objects.endpoint_ips(number),
            objects.TARGET_PORT,
        )
        for number in range(services - 1)
    ]
    published.append(Published("team/web:http", IPV4.vip, objects.PORT, IPV4.endpoints, objects.TARGET_PORT))
    text = "\n".join(render(published, "10.200.0.0/16")) + "\n"
    done = run_in(node, "iptables-nft-restore", stdin=text, timeout_s=280)
    assert done.returncode == 0, done.stderr


class Bench:
    """All variants, standing side by side."""

    def __init__(self, stack: ExitStack, loop: ConnectLoop) -> None:
        self._stack = stack
        self._loop = loop
        self.variants: dict[str, Variant] = {}

    def add_direct(self, at: Addresses, name: str) -> None:
        """Add the way without translation."""
        client, node, server = self._stack.enter_context(trio(at))
        assert run_in(node, "nft", "-f", "-", stdin=_EMPTY_NAT).returncode == 0
        self._add(Variant(name, at.endpoints[0], objects.TARGET_PORT, client, server), at)

    def add_one_rule(self, at: Addresses, name: str) -> None:
        """Add the way through the smallest ruleset that translates."""
        client, node, server = self._stack.enter_context(trio(at))
        rule = (
            f"ip daddr {at.vip} tcp dport {objects.PORT} dnat ip to {at.endpoints[0]}:{objects.TARGET_PORT}"
        )
        rules = f"{_EMPTY_NAT}add rule inet direct prerouting {rule}\n"
        assert run_in(node, "nft", "-f", "-", stdin=rules).returncode == 0
        self._add(Variant(name, at.vip, objects.PORT, client, server), at)

    def add_ours(self, at: Addresses, name: str, changes: Sequence[Change]) -> None:
        """Add the way through kubeproxy's table."""
        client, node, server = self._stack.enter_context(trio(at))
        load_ours(node, at, changes)
        self._add(Variant(name, at.vip, objects.PORT, client, server), at)

    def add_iptables(self, name: str, services: int) -> None:
        """Add the way through iptables."""
        client, node, server = self._stack.enter_context(trio(IPV4))
        load_iptables(node, services)
        self._add(Variant(name, IPV4.vip, objects.PORT, client, server), IPV4)

    def _add(self, variant: Variant, at: Addresses) -> None:
        everywhere = "::" if at.family == "ip6" else "0.0.0.0"  # noqa: S104
        with netns.inside(variant.server):
            process = self._loop.listen(everywhere, objects.TARGET_PORT)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        name = variant.name
        self.variants[name] = variant
        # Until the neighbours are resolved, and link-local addresses known to be nobody else's.
        eventually(lambda: self._connect(name, 0.02), lambda run: run.failed == 0 < run.made)

    def connect(self, name: str, seconds: float) -> Run:
        """Connect for so long; not one connection may fail."""
        run = self._connect(name, seconds)
        assert run.failed == 0 < run.made, f"{name}: {run}"
        return run

    def _connect(self, name: str, seconds: float) -> Run:
        variant = self.variants[name]
        with netns.inside(variant.client):
            return self._loop.connect(variant.target, variant.port, seconds)

    def rounds(self, count: int, seconds: float) -> dict[str, list[Run]]:
        """Let the variants take turns."""
        runs: dict[str, list[Run]] = {name: [] for name in self.variants}
        for number in range(count):
            names = list(self.variants)
            # Nobody always follows the same one.
            for name in names[number % len(names) :] + names[: number % len(names)]:
                runs[name].append(self.connect(name, seconds))
        return runs


def bulk(variants: dict[str, Variant], targets: dict[str, str], rounds: int, seconds: int) -> None:
    """Report throughput through a VIP beside the direct way."""
    ours, direct = targets
    with ExitStack() as stack:
        for name in targets:
            with netns.inside(variants[name].server):
                server = subprocess.Popen(["iperf3", "-s"], stdout=subprocess.DEVNULL)
            stack.callback(server.wait)
            stack.callback(server.kill)
        for protocol, options in (("tcp", ()), ("udp", ("-u", "-b", "0", "-l", "1400"))):
            rates: dict[str, list[float]] = {name: [] for name in targets}
            for number in range(rounds):
                for name in [ours, direct][:: 1 if number % 2 else -1]:
                    rates[name].append(_iperf(variants[name], targets[name], seconds, options))
            ratio = median([one / other for one, other in zip(rates[ours], rates[direct], strict=True)])
            report(
                f"kubeproxy_path_{protocol}_throughput_{ours}",
                "Gbit/s received",
                median(rates[ours]),
                peer=median(rates[direct]),
                peer_name=_DIRECT,
                ratio=ratio,
                goal="ratio >= 0.97",
            )


def _iperf(variant: Variant, target: str, seconds: int, options: tuple[str, ...]) -> float:
    """Return the Gbit/s that arrived."""
    command = ("iperf3", "-J", "-c", target, "-t", str(seconds), "--connect-timeout", "2000", *options)
    # The server may not have come up yet, or be busy with its last test.
    answer = eventually(
        lambda: json.loads(run_in(variant.client, *command).stdout), lambda answer: "error" not in answer
    )
    end = answer["end"]
    if "-u" in options:
        total = end["sum"]
        return float(total["bits_per_second"] * (1 - total["lost_percent"] / 100) / 1e9)
    return float(end["sum_received"]["bits_per_second"] / 1e9)


class Peer(msgspec.Struct, frozen=True):
    """What a variant is compared with."""

    name: str
    runs: list[Run]


def report_path(name: str, language: str, runs: list[Run], peer: Peer, goal: str | None) -> float:
    """Report one variant beside another; return the ratio of their connections a second."""
    ratio = median([one.per_s / other.per_s for one, other in zip(runs, peer.runs, strict=True)])
    report(
        f"kubeproxy_path_connections_{name}",
        f"connections/s (loop in {language})",
        median([run.per_s for run in runs]),
        peer=median([run.per_s for run in peer.runs]),
        peer_name=peer.name,
        ratio=ratio,
        goal=goal,
    )
    for field, figure in (("p50_us", "connect_p50"), ("p99_us", "connect_p99"), ("cpu_us", "client_cpu")):
        mine, theirs = ([getattr(run, field) for run in side] for side in (runs, peer.runs))
        report(
            f"kubeproxy_path_{figure}_{name}",
            "us",
            median(mine),
            peer=median(theirs),
            peer_name=peer.name,
            ratio=median([one / other for one, other in zip(mine, theirs, strict=True)]),
        )
    return ratio


def main() -> None:
    """Measure 1 to 30,000 services."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="up to 10,000 services, iptables at 1,000")
    quick = parser.parse_args().quick
    missing = [program for program in ("iptables-nft-restore", "iperf3", "nft") if not shutil.which(program)]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)} (Debian packages iptables, iperf3, nftables)")
    sizes = (1, 1_000, 10_000) if quick else (1, 1_000, 10_000, 30_000)
    iptables_size = 1_000 if quick else 10_000
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        loop = ConnectLoop(directory)
        bench = Bench(stack, loop)
        bench.add_direct(IPV4, "direct")
        bench.add_one_rule(IPV4, "one_rule")
        changes = filler(sizes[-1] - 1, "ip")
        for size in sizes:
            own = [*changes[: 2 * (size - 1)], *measured(IPV4, sizes[-1])]
            bench.add_ours(IPV4, f"{size}", own)
        del changes
        bench.add_iptables(f"iptables_{iptables_size}", iptables_size)
        size6 = 1_000 if quick else 10_000
        bench.add_direct(IPV6, "direct_ipv6")
        bench.add_ours(IPV6, f"{size6}_ipv6", [*filler(size6 - 1, "ip6"), *measured(IPV6, size6)])

        runs = bench.rounds(*((4, 0.1) if quick else (40, 0.2)))
        direct = Peer(_DIRECT, runs["direct"])
        ratios = {
            size: report_path(f"{size}", loop.language, runs[f"{size}"], direct, "ratio >= 0.85")
            for size in sizes
        }
        report(
            "kubeproxy_path_flatness",
            "worst : best ratio of all sizes",
            min(ratios.values()) / max(ratios.values()),
            goal="ours >= 0.95",
        )
        report_path(
            f"{iptables_size}_beside_iptables",
            loop.language,
            runs[f"{iptables_size}"],
            Peer("iptables-nft in kube-proxy's shape", runs[f"iptables_{iptables_size}"]),
            # The goal is for 10,000: with fewer services iptables is faster.
            "ratio >= 4" if iptables_size == 10_000 else None,
        )
        one_rule = Peer("one dnat rule", runs["one_rule"])
        report_path(f"{sizes[-1]}_beside_one_rule", loop.language, runs[f"{sizes[-1]}"], one_rule, None)
        name6 = f"{size6}_ipv6"
        report_path(name6, loop.language, runs[name6], Peer(_DIRECT, runs["direct_ipv6"]), "ratio >= 0.85")
        targets = {"10000": IPV4.bulk_vip, "direct": IPV4.endpoints[0]}
        bulk(bench.variants, targets, *((1, 1) if quick else (15, 1)))


if __name__ == "__main__":
    main()
