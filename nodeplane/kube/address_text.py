"""What texts are addresses and networks to Kubernetes, and which of them can be whose."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from socket import AF_INET, inet_pton

# ValidateEndpointIP in k/k pkg/apis/core/validation: unspecified, loopback, link-local, link-local multicast.
_NOT_REACHABLE: tuple[IPv4Network | IPv6Network, ...] = (
    *map(IPv4Network, ("0.0.0.0/32", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/24")),
    *map(IPv6Network, ("::/128", "::1/128", "fe80::/10", "ff02::/16")),
)
_NOT_REACHABLE_RANGES = {
    version: [(int(net[0]), int(net[-1])) for net in _NOT_REACHABLE if net.version == version]
    for version in (4, 6)
}


def parse_network(text: str) -> IPv4Network | IPv6Network | None:
    """Return the network that a text is, host bits or not; None if it is none."""
    address, slash, length = text.partition("/")
    if not slash or not (length.isascii() and length.isdigit()) or parse_address(address) is None:
        return None
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def is_address(text: str) -> bool:
    """Say whether a text is an address."""
    return parse_address(text) is not None


def is_virtual_address(text: str) -> bool:
    """Say whether an address can be a Service's: these never are in a range that an API server takes."""
    address = parse_address(text)
    return address is not None and not (address.is_unspecified or address.is_loopback or address.is_multicast)


ENDPOINT_ADDRESS = "expected an address that other nodes can reach, not unspecified, loopback or link-local"
"""What is said of one that no endpoint can have."""


def is_endpoint_address(text: str) -> bool:
    """Say whether an address can be an endpoint's (ValidateEndpointIP in k/k pkg/apis/core/validation)."""
    address = parse_address(text)
    return address is not None and is_reachable(address)


def is_reachable(address: IPv4Address | IPv6Address) -> bool:
    """Say whether other nodes can reach an address."""
    # As numbers, and without a generator: a source has to look at some 100,000 addresses.
    number = int(address)
    for low, high in _NOT_REACHABLE_RANGES[address.version]:  # noqa: SIM110
        if low <= number <= high:
            return False
    return True


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a text is; None if it is none."""
    if "%" in text:
        # An interface of the machine that wrote it (RFC 4007): no address for a cluster.
        return None
    try:
        # The kernel's notation is a part of what `ip_address` takes, and read in C.
        return IPv4Address(inet_pton(AF_INET, text))
    except (OSError, ValueError):
        pass
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # IPv4-mapped: an IPv4 address to some programs, an IPv6 address to others (KEP-4858).
    return None if isinstance(address, IPv6Address) and address.ipv4_mapped else address
