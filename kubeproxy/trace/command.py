"""`kubeproxy trace`: read the table of this namespace, and say what it will do with one connection."""

from pathlib import Path

import click

from kubeproxy.rules.addresses import Address
from kubeproxy.rules.layout import SLOTS, TABLE, Frontend
from kubeproxy.trace.ask import AddressType, DestinationType, build_packet
from kubeproxy.trace.packet import PROTOCOLS, Packet
from kubeproxy.trace.result import Trace
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.datapath.nft.listing import TableListing
from nodeplane.datapath.routing import KernelRouting, Routing
from nodeplane.errors import NodeplaneError
from nodeplane.runtime.cli import output_option
from nodeplane.runtime.option_types import NODE_NAME
from nodeplane.runtime.output import print_report
from nodeplane.runtime.source_options import source_options


@click.command("trace")
@click.argument("source", type=AddressType(), metavar="SRC")
@click.argument("protocol", type=click.Choice([*PROTOCOLS], case_sensitive=False), metavar="PROTO")
@click.argument("destination", type=DestinationType(), metavar="DST:PORT")
@click.option(
    "--source-port", type=click.IntRange(1, 65535), help="The client's port; without it, any may be the one."
)
@click.option(
    "--iif",
    "link",
    metavar="NAME",
    help="The interface that the packet comes in by; without it, the one that leads to SRC, or none if SRC "
    "is an address of this node.",
)
@click.option(
    "--node-name", type=NODE_NAME, help="With a source: say which endpoints this node leaves out, and why."
)
@source_options
@output_option
def trace_command(
    *,
    source: Address,
    protocol: str,
    destination: tuple[Address, int],
    source_port: int | None,
    link: str | None,
    node_name: str | None,
    manifests: Path | None,
    kubeconfig: Path | None,
    master: str | None,
    output: str,
) -> None:
    """Print what the kernel will do with a new connection, rule by rule.

    PROTO is tcp, udp or sctp; an IPv6 DST stands in brackets. The kernel has no names: with a source of
    objects those of the service and of the pods are printed beside what the kernel says, and with the node's
    name which endpoints are left out here: not ready, or meant for other zones or nodes.
    """
    # Late: the other commands, which start with a node, do without.
    from kubeproxy.names import name_trace, read_names
    from kubeproxy.trace.report import describe_trace

    names = read_names(manifests, kubeconfig, master, node_name)
    with KernelRouting() as routing:
        packet = build_packet(
            source, protocol, destination, source_port=source_port, link=link, routing=routing
        )
        with KernelTable(packet.family, TABLE) as table:
            listing = table.read_listing()
        if listing is None:
            raise NodeplaneError(
                f"there is no table {packet.family} {TABLE} in this network namespace: kubeproxy has not "
                "written it yet, or it was removed"
            )
        found = _follow(listing, packet, routing)
        report = describe_trace(found, output)
        print_report(name_trace(report, _frontends(found), names), output)


def _follow(listing: TableListing, packet: Packet, routing: Routing) -> Trace:
    """Follow a packet, through IPVS too where the table is of that mode."""
    from kubeproxy.ipvs.lookup import Lookup
    from kubeproxy.trace.walk import trace
    from nodeplane.datapath.ipvs.remembered import read_remembered
    from nodeplane.datapath.ipvs.table import KernelIpvs

    # What only mode nftables has.
    if SLOTS in listing.maps:
        return trace(listing, packet, routing)
    with KernelIpvs() as ipvs:
        return trace(listing, packet, routing, Lookup(ipvs, read_remembered()))


def _frontends(found: Trace) -> list[str]:
    """Return what the destination may have been: an address and port of a service, or a node port."""
    packet = found.packet
    protocol = packet.protocol.upper()
    frontends = [Frontend(packet.destination, protocol, packet.port)]
    if any(step.chain == "kinds" for step in found.steps):
        frontends.append(Frontend(None, protocol, packet.port))
    return [str(frontend) for frontend in frontends]
