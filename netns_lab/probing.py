"""Trying probes until all have succeeded: is the lab in service?"""

import secrets
import socket
import time
from collections.abc import Callable, Collection, Iterable

from netns_lab.cluster import DNS_PORT
from netns_lab.dns_query import build_query, decode_addresses
from netns_lab.names import node_namespace
from netns_lab.neighbour_table import read_refusals
from netns_lab.netlink import open_whole_rtnl
from netns_lab.probe import Connection, Name, Probe, Routes
from netns_lab.topology import Topology
from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import ROUTE_PROTOCOL, Address, Family, Route
from nodeplane.errors import NodeplaneError

_TRY_S = 1.0
_FAMILIES: tuple[Family, ...] = (4, 6)
# rt_protos(5): whose routes lead to pods, by the pool's mode: the agent's own, or BIRD's.
_ROUTERS = (ROUTE_PROTOCOL, 12)
_PAUSE_S = 0.02
_FULL = "; the machine's neighbour table was full meanwhile, see `netns-lab doctor`"


def await_probes(
    topology: Topology,
    probes: Iterable[Probe],
    limit_s: float,
    attempt: Callable[[Topology, Probe], str] | None = None,
) -> None:
    """Try the probes until all have succeeded; `attempt` says why one failed, nothing if it succeeded.

    Raises:
        NodeplaneError: none of those left has for `limit_s` seconds; names the first and why.
    """
    attempt = attempt or _try
    refusals = read_refusals()
    deadline = time.monotonic() + limit_s
    pending = list(probes)
    while pending:
        failed: list[tuple[Probe, str]] = []
        for number, probe in enumerate(pending):
            failure = attempt(topology, probe)
            if not failure:
                deadline = time.monotonic() + limit_s
                continue
            failed.append((probe, failure))
            # Not only after all: of thousands that fail, each for a second, the last one's turn is far away.
            if time.monotonic() > deadline:
                others = len(failed) + len(pending) - number - 2
                first = f"node {failed[0][0].node}: {failed[0][1]}" + (
                    f" (and {others} more)" if others else ""
                )
                full = _FULL if read_refusals() > refusals else ""
                raise NodeplaneError(f"not in service after {limit_s:g} s: {first}{full}")
        pending = [probe for probe, _ in failed]
        if pending:
            time.sleep(_PAUSE_S)


def uncovered(pods: Collection[Address], routes: Iterable[Route]) -> list[Address]:
    """Return the pods that none of the routes leads to, in order."""
    # By length: of a thousand pods each is looked up once in each of a few sets, not in a hundred networks.
    covered: dict[tuple[int, int], set[int]] = {}
    for network in (route.destination for route in routes if route.kind == "unicast"):
        rest = network.max_prefixlen - network.prefixlen
        covered.setdefault((network.version, rest), set()).add(int(network.network_address) >> rest)
    missing = (
        pod
        for pod in pods
        if not any(
            version == pod.version and int(pod) >> rest in prefixes
            for (version, rest), prefixes in covered.items()
        )
    )
    return sorted(missing, key=lambda pod: (pod.version, pod.packed))


def _try(topology: Topology, probe: Probe) -> str:
    """Try once; return why it failed, nothing if it succeeded."""
    namespace = netns.NETNS_DIR / node_namespace(topology.name, probe.node)
    match probe:
        case Routes(_, pods):
            with open_whole_rtnl(namespace) as rtnl:
                routes = [
                    route
                    for family in _FAMILIES
                    for protocol in _ROUTERS
                    for route in rtnl.routes(protocol, family=family)
                ]
            missing = uncovered(pods, routes)
            return f"no route to pod {missing[0]}" if missing else ""
        case Name(_, name, address):
            with netns.inside(namespace):
                asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with asker:
                got = _ask(asker, topology.network.cluster_dns, name)
            return "" if got == [address] else f"{name}: expected {address}, got {got or 'no answer'}"
        case Connection(_, address, port):
            with netns.inside(namespace):
                client = socket.socket(_family(address), socket.SOCK_STREAM)
            with client:
                return _connect(client, address, port)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _ask(asker: socket.socket, server: str, name: str) -> list[str] | None:
    identifier = secrets.randbits(16)
    asker.settimeout(_TRY_S)
    try:
        # Connected, so that an ICMP error (no server yet) ends the wait at once.
        asker.connect((server, DNS_PORT))
        asker.send(build_query(identifier, name))
        return decode_addresses(identifier, asker.recv(4096))
    except OSError:
        return None


def _connect(client: socket.socket, address: str, port: int) -> str:
    client.settimeout(_TRY_S)
    try:
        client.connect((address, port))
    except OSError as exc:
        return f"connect to {address}:{port}: {exc}"
    return ""
