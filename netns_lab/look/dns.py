"""A question to the cluster DNS, asked as the resolver of a pod asks it."""

import secrets
import socket
import time
from typing import Any

from netns_lab.cluster import DNS_PORT
from netns_lab.execute import Place, place_namespace
from netns_lab.look.dns_records import rcode_name, record_row
from netns_lab.look.place import place_name
from netns_lab.state import StateDirectory
from netns_lab.topology import PodSpec, Topology
from nodeplane.datapath import netns
from nodeplane.errors import ConfigError

_TRY_S = 2.0
_TRIES = 3
_NDOTS = 5


def candidates(topology: Topology, place: Place, name: str) -> list[str]:
    """Return the names that a resolver tries in turn (resolv.conf(5), search and ndots of a pod)."""
    if name.endswith("."):
        return [name.rstrip(".")]
    domain = topology.network.cluster_domain
    namespace = place.namespace if isinstance(place, PodSpec) else "default"
    searched = [f"{name}.{suffix}" for suffix in (f"{namespace}.svc.{domain}", f"svc.{domain}", domain)]
    return [*searched, name] if name.count(".") < _NDOTS else [name, *searched]


def ask_cluster(
    state: StateDirectory, topology: Topology, place: Place, name: str, record_type: str
) -> dict[str, Any]:
    """Ask until a name has records, and return the last answer.

    Raises:
        ConfigError: there is no such type of record.
    """
    # Late: scapy takes half a second. The lab's own decoder knows addresses alone.
    from scapy.layers.dns import dnsqtypes

    if record_type not in dnsqtypes.values():
        raise ConfigError(record_type, "", "expected a type of record such as A, AAAA, SRV, PTR or TXT")
    server = topology.network.cluster_dns
    report: dict[str, Any] = {}
    for candidate in candidates(topology, place, name):
        with netns.inside(netns.NETNS_DIR / place_namespace(state.lab, place)):
            asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        started = time.monotonic()
        with asker:
            rcode, answers = _ask(asker, server, candidate, record_type)
        report = {
            "from": place_name(place),
            "name": candidate,
            "server": server,
            "rcode": rcode,
            "milliseconds": round((time.monotonic() - started) * 1000, 2),
            "answers": answers,
        }
        if answers or rcode == "no answer":
            break
    return report


def _ask(asker: socket.socket, server: str, name: str, record_type: str) -> tuple[str, list[dict[str, Any]]]:
    from scapy.layers.dns import DNS, DNSQR

    identifier = secrets.randbits(16)
    query = bytes(DNS(id=identifier, rd=1, qd=DNSQR(qname=name, qtype=record_type)))
    asker.settimeout(_TRY_S)
    asker.connect((server, DNS_PORT))
    for _ in range(_TRIES):
        try:
            asker.send(query)
            reply = DNS(asker.recv(65535))
        except OSError:
            continue
        if reply.id == identifier:
            return rcode_name(reply.rcode), [record_row(record) for record in reply.an or ()]
    return "no answer", []
