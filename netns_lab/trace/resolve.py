"""A name as a pod resolves it: what its resolv.conf makes of it, what was asked, who answered.

`candidates` is what glibc and musl do (resolv.conf(5)); the rest is the edge, a socket in the pod.
"""

import secrets
import socket
import time
from collections.abc import Callable
from ipaddress import ip_address

import msgspec

from netns_lab.dns_query import TYPE_A, TYPE_AAAA, build_query, decode_answer
from nodeplane.datapath import netns
from nodeplane.datapath.conntrack.entry import Ends
from nodeplane.datapath.rtnl import Address, Family

_PORT = 53
_MAX_BYTES = 4096
_ATTEMPTS = 2
_FINAL = {"NOERROR", "NXDOMAIN"}
"""After other codes a resolver asks its next server."""


class ResolvConf(msgspec.Struct, frozen=True):
    """What resolv.conf(5) says of how to resolve names."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    ndots: int = 1


class Lookup(msgspec.Struct, frozen=True):
    """One question and its answer.

    Attributes:
        rcode: The response code, or why there is no answer.
        ends: The question's, as sent.
        is_answered: Whether the server has said anything at all.
    """

    name: str
    kind: str
    server: str
    rcode: str
    addresses: tuple[str, ...]
    at_ns: int
    seconds: float
    ends: Ends | None = None
    is_answered: bool = True


def parse_resolv_conf(text: str) -> ResolvConf:
    """Read a resolv.conf; what is not understood is left out, as resolvers do."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    ndots = 1
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            servers.append(words[1])
        elif len(words) > 1 and words[0] == "search":
            search = tuple(words[1:])
        elif words and words[0] == "options":
            given = [word.partition(":")[2] for word in words[1:] if word.startswith("ndots:")]
            ndots = next((int(each) for each in given if each.isdigit()), ndots)
    return ResolvConf(tuple(servers), search, ndots)


def candidates(name: str, config: ResolvConf) -> list[str]:
    """Return the full names that are asked for, in order, until one has an address."""
    if name.endswith("."):
        return [name.rstrip(".")]
    searched = [f"{name}.{domain.rstrip('.')}" for domain in config.search]
    return [name, *searched] if name.count(".") >= config.ndots else [*searched, name]


def resolve(
    namespace: str, name: str, config: ResolvConf, family: Family | None, limit_s: float
) -> list[Lookup]:
    """Ask until a name has an address; the last lookup is the one that counts.

    Without a family IPv4 is asked for first, then IPv6.

    Raises:
        KernelError: there is no such namespace.
    """
    families: tuple[Family, ...] = (4, 6) if family is None else (family,)
    lookups: list[Lookup] = []
    for full in candidates(name, config):
        for each in families:
            # A server that does not answer is asked once more (resolv.conf(5): attempts), from another port.
            for _ in range(_ATTEMPTS):
                lookups.append(_look_up(namespace, full, each, config, limit_s))
                if lookups[-1].addresses:
                    return lookups
                if lookups[-1].is_answered:
                    break
    return lookups


def first_address(lookups: list[Lookup]) -> Address | None:
    """Return what a name has been resolved to."""
    found = lookups[-1].addresses if lookups else ()
    return ip_address(found[0]) if found else None


def _look_up(namespace: str, name: str, family: Family, config: ResolvConf, limit_s: float) -> Lookup:
    kind, record_type = ("A", TYPE_A) if family == 4 else ("AAAA", TYPE_AAAA)
    at_ns, started = time.time_ns(), time.monotonic()

    def lookup(server: str, rcode: str, ends: Ends | None = None, addresses: tuple[str, ...] = ()) -> Lookup:
        return Lookup(name, kind, server, rcode, addresses, at_ns, time.monotonic() - started, ends)

    if not config.servers:
        return lookup("", "no nameserver in resolv.conf")
    if any(not label or len(label) > 63 for label in name.split(".")):
        return lookup(config.servers[0], "no name of DNS")
    last = lookup("", "")
    # All of a resolver's servers, one after the other.
    for server in config.servers:
        with _open(namespace, server) as asker:
            asker.settimeout(limit_s)
            last = _ask(asker, server, build_query(secrets.randbits(16), name, record_type), lookup)
        if last.rcode in _FINAL:
            break
    return last


def _open(namespace: str, server: str) -> socket.socket:
    with netns.inside(netns.NETNS_DIR / namespace):
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        return socket.socket(family, socket.SOCK_DGRAM)


def _ask(asker: socket.socket, server: str, query: bytes, lookup: Callable[..., Lookup]) -> Lookup:
    identifier, record_type = int.from_bytes(query[:2], "big"), int.from_bytes(query[-4:-2], "big")
    ends = None
    try:
        asker.connect((server, _PORT))
        own = asker.getsockname()
        ends = Ends(ip_address(own[0]), own[1], ip_address(server), _PORT)
        asker.send(query)
        while (answer := decode_answer(identifier, asker.recv(_MAX_BYTES), record_type)) is None:
            continue
    except TimeoutError:
        return _unanswered(lookup(server, f"no answer in {asker.gettimeout():g} s", ends))
    except OSError as exc:
        return _unanswered(lookup(server, exc.strerror or str(exc), ends))
    return lookup(server, answer.rcode, ends, answer.addresses)


def _unanswered(lookup: Lookup) -> Lookup:
    return msgspec.structs.replace(lookup, is_answered=False)
