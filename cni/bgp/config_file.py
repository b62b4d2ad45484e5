"""The `bgp:` part of the agent's configuration file, checked.

What is wrong is one line that names file, line, field and what is expected.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from cni.bgp.config import (
    DEFAULT_DIRECTORY,
    DEFAULT_UPLINKS,
    DEFAULT_USER,
    BfdMode,
    BgpConfig,
    Community,
    Peer,
    Reflectors,
    ServiceRanges,
    Timers,
)
from cni.duration import decode_duration
from ipam.model import Address, Network
from ipam.pool_config import NAME_EXPECTED, is_name
from ipam.selector import parse_selector
from nodeplane.errors import ConfigError
from nodeplane.yamldoc import FieldPath, YamlDocument

# RFC 7607 and RFC 7300: neither 0 nor the last number is anybody's.
AsNumber = Annotated[int, Meta(ge=1, le=2**32 - 2)]
# RFC 4271 section 4.2: zero, or at least three seconds. Without keepalives a dead peer is never noticed.
_LEAST_HOLD_S = 3.0
_MOST_HOLD_S = 65535.0
# RFC 4724 section 3: 12 bits.
_MOST_RESTART_S = 4095.0
_COMMUNITY = re.compile(r"\d{1,10}:\d{1,10}(:\d{1,10})?")
# Names of links as the kernel allows them (dev_valid_name), with bird's `*`; no quote, which bird can't have.
# useradd(8).
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_UPLINK = re.compile(r"[^\s/:\"-][^\s/:\"]{0,15}")


class _Timers(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    hold_time: str = "90s"
    keepalive_time: str = ""
    graceful_restart_time: str = "2m"
    bfd: BfdMode = "none"
    password_file: str = ""


class _Reflectors(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    node_selector: str
    cluster_id: str
    clients: str = ""


class _Peer(_Timers, frozen=True, rename="camel", forbid_unknown_fields=True, kw_only=True):
    name: str
    address: str
    as_number: AsNumber
    port: Annotated[int, Meta(ge=1, le=65535)] = 179
    node_selector: str = ""
    source_address: str = "node"
    multihop: Annotated[int, Meta(ge=0, le=255)] = 0
    passive: bool = False
    ttl_security: bool = False
    max_prefixes: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    allow_local_as: Annotated[int, Meta(ge=0, le=10)] = 0
    keep_next_hop: bool = False
    announce: Literal["own", "cluster"] = "own"
    communities: tuple[str, ...] = ()
    import_only: tuple[str, ...] = ()


class _Services(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    cluster_ips: tuple[str, ...] = msgspec.field(name="clusterIPs", default=())
    external_ips: tuple[str, ...] = msgspec.field(name="externalIPs", default=())
    load_balancer_ips: tuple[str, ...] = msgspec.field(name="loadBalancerIPs", default=())


class _Bfd(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    interval: str = "300ms"
    multiplier: Annotated[int, Meta(ge=2, le=255)] = 3


class _Attached(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    cidr: str
    communities: tuple[str, ...]


class BgpFile(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """`bgp:` as it is written."""

    as_number: AsNumber
    mesh: bool | None = None
    route_reflectors: tuple[_Reflectors, ...] = ()
    nodes: _Timers = _Timers()
    peers: tuple[_Peer, ...] = ()
    communities: tuple[_Attached, ...] = ()
    services: _Services = _Services()
    bfd: _Bfd = _Bfd()
    port: Annotated[int, Meta(ge=1, le=65535)] = 179
    uplinks: tuple[str, ...] = DEFAULT_UPLINKS
    prefer_node_address: bool = False
    bird: str = "/usr/sbin/bird"
    user: str = DEFAULT_USER
    directory: str = DEFAULT_DIRECTORY
    socket: str = ""


def build_config(document: YamlDocument, path: FieldPath, file: BgpFile) -> BgpConfig:
    """Check `bgp:` at `path` of a document.

    Raises:
        ConfigError: a field is wrong.
    """
    return _Reader(document, path).read(file)


class _Reader:
    """A document and where in it `bgp:` stands."""

    def __init__(self, document: YamlDocument, path: FieldPath) -> None:
        self._document = document
        self._path = tuple(path)

    def read(self, file: BgpFile) -> BgpConfig:
        mesh = not file.route_reflectors if file.mesh is None else file.mesh
        if mesh and file.route_reflectors:
            raise self._error(("mesh",), "expected false where there are routeReflectors")
        names = [peer.name for peer in file.peers]
        for index, name in enumerate(names):
            if not is_name(name):
                raise self._error(("peers", index, "name"), f"{NAME_EXPECTED}, got {name!r}")
            if name in names[:index]:
                raise self._error(("peers", index, "name"), f"expected each name once, got {name!r} twice")
        for index, uplink in enumerate(file.uplinks):
            if not _UPLINK.fullmatch(uplink):
                raise self._error(
                    ("uplinks", index), f"expected a link's name, `*` for any part of it, got {uplink!r}"
                )
        if not file.uplinks:
            raise self._error(("uplinks",), "expected at least one: without any no next hop is found")
        interval_s = decode_duration(self._document, self._at(("bfd", "interval")), file.bfd.interval)
        if not 0.01 <= interval_s <= 60:
            raise self._error(("bfd", "interval"), f"expected 10ms to 60s, got {file.bfd.interval!r}")
        return BgpConfig(
            as_number=file.as_number,
            mesh=mesh,
            route_reflectors=tuple(
                self._reflectors(("routeReflectors", index), item)
                for index, item in enumerate(file.route_reflectors)
            ),
            nodes=self._timers(("nodes",), file.nodes),
            peers=tuple(self._peer(("peers", index), item) for index, item in enumerate(file.peers)),
            communities=tuple(
                self._attached(("communities", index), item) for index, item in enumerate(file.communities)
            ),
            services=ServiceRanges(
                cluster_ips=self._networks(("services", "clusterIPs"), file.services.cluster_ips),
                external_ips=self._networks(("services", "externalIPs"), file.services.external_ips),
                load_balancer_ips=self._networks(
                    ("services", "loadBalancerIPs"), file.services.load_balancer_ips
                ),
            ),
            bfd_interval_s=interval_s,
            bfd_multiplier=file.bfd.multiplier,
            port=file.port,
            uplinks=file.uplinks,
            prefer_node_address=file.prefer_node_address,
            bird=self._file_path(("bird",), file.bird),
            user=self._user(("user",), file.user),
            directory=self._file_path(("directory",), file.directory),
            socket=self._file_path(("socket",), file.socket) if file.socket else None,
        )

    def _reflectors(self, path: FieldPath, item: _Reflectors) -> Reflectors:
        self._selector((*path, "nodeSelector"), item.node_selector)
        self._selector((*path, "clients"), item.clients)
        try:
            cluster_id = IPv4Address(item.cluster_id)
        except ValueError as exc:
            expected = f"expected four numbers such as 244.0.0.1: {exc}"
            raise self._error((*path, "clusterId"), expected) from exc
        return Reflectors(item.node_selector, cluster_id, item.clients)

    def _timers(self, path: FieldPath, item: _Timers) -> Timers:
        hold_s = decode_duration(self._document, self._at((*path, "holdTime")), item.hold_time)
        if not _LEAST_HOLD_S <= hold_s <= _MOST_HOLD_S:
            raise self._error((*path, "holdTime"), f"expected 3s to 65535s, got {item.hold_time!r}")
        keepalive_s = 0.0
        if item.keepalive_time:
            keepalive_s = decode_duration(
                self._document, self._at((*path, "keepaliveTime")), item.keepalive_time
            )
            if not 1 <= keepalive_s < hold_s:
                raise self._error((*path, "keepaliveTime"), "expected at least 1s, and less than holdTime")
        restart_s = decode_duration(
            self._document, self._at((*path, "gracefulRestartTime")), item.graceful_restart_time
        )
        if restart_s > _MOST_RESTART_S:
            raise self._error((*path, "gracefulRestartTime"), "expected at most 4095s")
        if item.bfd == "graceful" and not restart_s:
            raise self._error((*path, "bfd"), "expected none or strict where gracefulRestartTime is 0")
        password = item.password_file
        file = self._file_path((*path, "passwordFile"), password) if password else None
        return Timers(hold_s, keepalive_s, restart_s, item.bfd, file)

    def _peer(self, path: FieldPath, item: _Peer) -> Peer:
        address = self._address((*path, "address"), item.address)
        if address.is_link_local or address.is_multicast or address.is_unspecified:
            raise self._error((*path, "address"), f"expected the address of a router, got {address}")
        self._selector((*path, "nodeSelector"), item.node_selector)
        source: Address | None = None
        if item.source_address not in {"node", "auto"}:
            source = self._address((*path, "sourceAddress"), item.source_address, "node, auto or an address")
            if source.version != address.version:
                expected = f"expected IPv{address.version} as in address, got {source}"
                raise self._error((*path, "sourceAddress"), expected)
        return Peer(
            name=item.name,
            address=address,
            as_number=item.as_number,
            port=item.port,
            node_selector=item.node_selector,
            source=source,
            use_node_address=item.source_address == "node",
            multihop=item.multihop,
            is_passive=item.passive,
            ttl_security=item.ttl_security,
            max_prefixes=item.max_prefixes,
            allow_local_as=item.allow_local_as,
            keep_next_hop=item.keep_next_hop,
            announce=item.announce,
            communities=self._communities((*path, "communities"), item.communities),
            import_only=self._networks((*path, "importOnly"), item.import_only),
            timers=self._timers(path, item),
        )

    def _attached(self, path: FieldPath, item: _Attached) -> tuple[Network, tuple[Community, ...]]:
        network = self._network((*path, "cidr"), item.cidr)
        return network, self._communities((*path, "communities"), item.communities)

    def _communities(self, path: FieldPath, texts: Sequence[str]) -> tuple[Community, ...]:
        found: list[Community] = []
        for index, text in enumerate(texts):
            numbers = tuple(map(int, text.split(":"))) if _COMMUNITY.fullmatch(text) else ()
            # RFC 1997: twice 16 bits; RFC 8092: three times 32.
            limit = 2**16 if len(numbers) == 2 else 2**32
            if not numbers or max(numbers) >= limit:
                expected = f"expected a community 64512:100 or a large one 64512:1:2, got {text!r}"
                raise self._error((*path, index), expected)
            found.append(numbers)
        return tuple(found)

    def _networks(self, path: FieldPath, texts: Sequence[str]) -> tuple[Network, ...]:
        return tuple(self._network((*path, index), text) for index, text in enumerate(texts))

    def _network(self, path: FieldPath, text: str) -> Network:
        try:
            return ip_network(text)
        except ValueError as exc:
            raise self._error(path, f"expected a network: {exc}") from exc

    def _address(self, path: FieldPath, text: str, what: str = "an address") -> Address:
        try:
            return ip_address(text)
        except ValueError as exc:
            raise self._error(path, f"expected {what}: {exc}") from exc

    def _selector(self, path: FieldPath, text: str) -> None:
        # The check itself is ipam's; the place is the document's.
        error = self._error(path, "")
        parse_selector(text, error.place, error.field)

    def _file_path(self, path: FieldPath, text: str) -> Path:
        # One that depends on where the agent was started would be right by chance; bird can't escape a quote.
        if not text.startswith("/") or '"' in text:
            raise self._error(path, f"expected an absolute path, got {text!r}")
        return Path(text)

    def _user(self, path: FieldPath, text: str) -> str:
        if not _USER.fullmatch(text):
            raise self._error(path, f"expected the name of a user, got {text!r}")
        return text

    def _at(self, path: FieldPath) -> FieldPath:
        return (*self._path, *path)

    def _error(self, path: FieldPath, expected: str) -> ConfigError:
        return self._document.error(self._at(path), expected)
