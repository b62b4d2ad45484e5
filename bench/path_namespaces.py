"""A client, a node that forwards, and a server: three network namespaces in a row."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from nodeplane.datapath.nft.expr import Family
from tests.netns_fixture import namespace, run_in

_ENDPOINT_COUNT = 4


class Addresses(msgspec.Struct, frozen=True):
    """The addresses of one family; every trio of namespaces has the same."""

    family: Family
    client: str
    node: tuple[str, str]
    endpoints: tuple[str, ...]
    prefix: int
    vip: str
    bulk_vip: str


IPV4 = Addresses(
    "ip",
    "10.200.1.2",
    ("10.200.1.1", "10.200.2.1"),
    tuple(f"10.200.2.{10 + index}" for index in range(_ENDPOINT_COUNT)),
    24,
    "10.97.255.1",
    "10.97.255.2",
)
IPV6 = Addresses(
    "ip6",
    "fd00:200:1::2",
    ("fd00:200:1::1", "fd00:200:2::1"),
    tuple(f"fd00:200:2::{10 + index}" for index in range(_ENDPOINT_COUNT)),
    64,
    "fd00:97::1",
    "fd00:97::2",
)


@contextmanager
def trio(at: Addresses) -> Iterator[tuple[Path, Path, Path]]:
    """Yield a client's, a node's and a server's namespace, joined and routed."""
    add = f"ip -{6 if at.family == 'ip6' else 4} addr add"
    # No duplicate address detection: an IPv6 address is to be had at once.
    flags = "nodad" if at.family == "ip6" else ""
    route = "ip -6 route" if at.family == "ip6" else "ip route"
    with namespace("client") as client, namespace("node") as node, namespace("server") as server:
        for ns, lines in (
            (
                node,
                [
                    f"ip link add cl type veth peer name eth0 netns {client.name}",
                    f"ip link add sv type veth peer name eth0 netns {server.name}",
                    "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
                    f"{add} {at.node[0]}/{at.prefix} dev cl {flags}",
                    f"{add} {at.node[1]}/{at.prefix} dev sv {flags}",
                    "ip link set cl up; ip link set sv up",
                ],
            ),
            (
                client,
                [
                    f"{add} {at.client}/{at.prefix} dev eth0 {flags}; ip link set eth0 up",
                    f"{route} add default via {at.node[0]}",
                    "sysctl -qw net.ipv4.ip_local_port_range='1024 65535'",
                ],
            ),
            (
                server,
                [
                    *(f"{add} {each}/{at.prefix} dev eth0 {flags}" for each in at.endpoints),
                    "ip link set eth0 up",
                    f"{route} add default via {at.node[1]}",
                ],
            ),
        ):
            done = run_in(ns, "sh", "-ec", "\n".join(lines))
            assert done.returncode == 0, done.stderr
        yield client, node, server
