"""From the words of a command line to a packet: addresses, a port, and where the packet comes from."""

import socket
from ipaddress import ip_address

import click

from kubeproxy.rules.addresses import Address
from kubeproxy.trace.packet import Packet
from nodeplane.datapath.routing import LOCAL, Routing


class AddressType(click.ParamType[Address]):
    """An IPv4 or IPv6 address."""

    name = "address"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """Parse it."""
        try:
            return ip_address(value)
        except ValueError:
            self.fail(f"expected an IP address, got {value!r}", param, ctx)


class DestinationType(click.ParamType[tuple[Address, int]]):
    """An address and a port, an IPv6 address in brackets."""

    name = "address:port"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Address, int]:
        """Parse it."""
        host, _, port = value.rpartition(":")
        is_bracketed = host.startswith("[") and host.endswith("]")
        try:
            address = ip_address(host[1:-1] if is_bracketed else host)
        except ValueError:
            address = None
        is_port = port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16
        if address is None or not is_port or is_bracketed != (address.version == 6):
            self.fail(f"expected ADDRESS:PORT or [ADDRESS]:PORT, got {value!r}", param, ctx)
        return address, int(port)


def build_packet(
    source: Address,
    protocol: str,
    destination: tuple[Address, int],
    *,
    source_port: int | None,
    link: str | None,
    routing: Routing,
) -> Packet:
    """Return the packet that is asked about; without a `link` it comes from where its answer would go to.

    Raises:
        click.BadParameter: what was asked makes no packet.
    """
    address, port = destination
    if source.version != address.version:
        raise click.BadParameter(f"{source} and {address} are not of one family")
    if link is None:
        route = routing.find(source.packed)
        if route is None:
            raise click.BadParameter(
                f"no route leads to {source}: say by which interface it comes in (--iif)"
            )
        link = None if route.kind == LOCAL else route.link
    elif link not in {name for _, name in socket.if_nameindex()}:
        raise click.BadParameter(f"there is no interface {link!r} here", param_hint="--iif")
    return Packet(source, protocol, address, port, source_port, link)
