"""The namespaces of the matrix, their addresses and their links.

    client ───────── node ─── pod        endpoints and pods of this node, n1
      wan0             ├───── mate
                       ├───── far ─── away      an endpoint of another node, n2
                       └───── third ─ other     a pod of yet another node, n3

All that the node forwards comes back by the node: no two sites behind another router talk to each other.

A pod's link on the node is `cni0` or `cni01`, so that one name begins with the other.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from tests.netns_fixture import namespace, run_in


class Site(msgspec.Struct, frozen=True):
    """A namespace behind a router: the router's link toward it, and both ends' addresses by IP version.

    Attributes:
        node: The Kubernetes node that its endpoint is on, None for the client.
    """

    router: str
    link: str
    gateway: dict[int, str]
    address: dict[int, str]
    node: str | None = None


SITES = {
    "pod": Site(
        "node",
        "cni0",
        {4: "10.244.1.1/28", 6: "fd00:244:1:1::1/64"},
        {4: "10.244.1.2/28", 6: "fd00:244:1:1::2/64"},
        "n1",
    ),
    "mate": Site(
        "node",
        "cni01",
        {4: "10.244.1.17/28", 6: "fd00:244:1:2::1/64"},
        {4: "10.244.1.18/28", 6: "fd00:244:1:2::2/64"},
        "n1",
    ),
    "client": Site(
        "node",
        "wan0",
        {4: "203.0.113.1/24", 6: "2001:db8::1/64"},
        {4: "203.0.113.2/24", 6: "2001:db8::2/64"},
    ),
    "far": Site(
        "node",
        "lan0",
        {4: "192.168.10.1/24", 6: "fd00:10::1/64"},
        {4: "192.168.10.2/24", 6: "fd00:10::2/64"},
        "n2",
    ),
    "away": Site(
        "far",
        "away0",
        {4: "10.244.2.1/28", 6: "fd00:244:2:1::1/64"},
        {4: "10.244.2.2/28", 6: "fd00:244:2:1::2/64"},
        "n2",
    ),
    "third": Site(
        "node",
        "lan1",
        {4: "192.168.11.1/24", 6: "fd00:11::1/64"},
        {4: "192.168.11.2/24", 6: "fd00:11::2/64"},
        "n3",
    ),
    "other": Site(
        "third",
        "other0",
        {4: "10.244.3.1/28", 6: "fd00:244:3:1::1/64"},
        {4: "10.244.3.2/28", 6: "fd00:244:3:1::2/64"},
        "n3",
    ),
}
POD_NETWORKS = {4: "10.244.0.0/16", 6: "fd00:244::/32"}
NODE_POD_NETWORKS = {4: "10.244.1.0/24", 6: "fd00:244:1::/48"}
LAN = {4: "192.168.10.0/24", 6: "fd00:10::/64"}
ENDPOINTS = ("pod", "mate", "away", "other", "node")
"""Where servers run."""

_SYSCTLS = (
    "net.ipv4.icmp_ratelimit=0",
    "net.ipv4.icmp_ratemask=0",
    "net.ipv6.icmp.ratelimit=0",
    "net.ipv6.conf.default.accept_dad=0",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
)
_ROUTERS = {"node", "far", "third"}
_FORWARDING = ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")


def address_of(site: str, version: int) -> str:
    """Return a site's address; that of the node as an endpoint is the one in the cluster's own network."""
    if site == "node":
        return node_address("far", version)
    return SITES[site].address[version].partition("/")[0]


def node_address(toward: str, version: int) -> str:
    """Return the address that the node has on the link toward a site: what is masqueraded comes from it."""
    site = SITES[toward]
    if site.router != "node":
        site = SITES[site.router]
    return site.gateway[version].partition("/")[0]


def node_addresses(version: int) -> list[str]:
    """Return all of the node's addresses but loopback ones."""
    return [node_address(name, version) for name, site in SITES.items() if site.router == "node"]


def node_link(client: str) -> str | None:
    """Return the node's interface that a client's packets come in by; None for the node itself."""
    if client == "node":
        return None
    site = SITES[client]
    return site.link if site.router == "node" else SITES[site.router].link


@contextmanager
def build_namespaces() -> Iterator[dict[str, Path]]:
    """Build the namespaces and what joins them."""
    with ExitStack() as stack:
        paths = {name: stack.enter_context(namespace(name)) for name in ("node", *SITES)}
        for name, path in paths.items():
            forwarding = _FORWARDING if name in _ROUTERS else ()
            _run(path, "sysctl", "-qw", *_SYSCTLS, *forwarding)
        for name, site in SITES.items():
            _batch(
                paths[site.router],
                f"link add {site.link} type veth peer name eth0 netns {paths[name].name}",
                *_configure(site.link, site.gateway),
            )
            _batch(paths[name], *_configure("eth0", site.address), *_defaults(site.gateway))
        _batch(
            paths["node"],
            *_defaults(SITES["client"].address),
            "route add 10.244.2.0/24 via 192.168.10.2",
            "route add 10.244.3.0/24 via 192.168.11.2",
            "-6 route add fd00:244:2::/48 via fd00:10::2",
            "-6 route add fd00:244:3::/48 via fd00:11::2",
        )
        yield paths


def _configure(link: str, addresses: dict[int, str]) -> list[str]:
    return [
        f"address add {addresses[4]} dev {link}",
        f"address add {addresses[6]} dev {link} nodad",
        f"link set {link} up",
    ]


def _defaults(gateway: dict[int, str]) -> list[str]:
    return [
        f"{'-6 ' if version == 6 else ''}route add default via {address.partition('/')[0]}"
        for version, address in gateway.items()
    ]


def _batch(ns: Path, *lines: str) -> None:
    # One process a namespace. `-6` is no word of a batch: such lines go on their own.
    plain = [line for line in lines if not line.startswith("-6 ")]
    done = run_in(ns, "ip", "-batch", "-", stdin="\n".join(plain) + "\n")
    assert done.returncode == 0, (plain, done.stderr)
    rest = [line.removeprefix("-6 ") for line in lines if line.startswith("-6 ")]
    if rest:
        done = run_in(ns, "ip", "-6", "-batch", "-", stdin="\n".join(rest) + "\n")
        assert done.returncode == 0, (rest, done.stderr)


def _run(ns: Path, *command: str) -> None:
    done = run_in(ns, *command)
    assert done.returncode == 0, (command, done.stderr)
