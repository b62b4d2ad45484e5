"""What a Corefile means: which addresses are listened on, and what serves each zone there.

Decides which plugins and options there are and what they take. Zones are text here, lower case with a final
dot. A site is for the names whose longest zone, among all sites on its address and port, is its own, as with
CoreDNS's server blocks.
"""

import re
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from pathlib import Path

import msgspec
from msgspec.structs import replace

from coredns_lite.corefile import Block, Directive, Token
from coredns_lite.names import NameFormatError, decode_name, encode_name

DEFAULT_PORT = 53
DEFAULT_TTL_S = 5
MAX_TTL_S = 3600

_ZONE = re.compile(r"\.|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
_NUMBER = re.compile(r"[0-9]{1,9}")


class Origin(msgspec.Struct, frozen=True):
    """Where a cluster's objects come from: a directory of manifests, or an API server's kubeconfig."""

    manifests: Path | None = None
    kubeconfig: Path | None = None


class Kubernetes(msgspec.Struct, frozen=True):
    """The plugin `kubernetes`: zones with the names of a cluster's Services."""

    zones: tuple[str, ...]
    origin: Origin
    ttl_s: int = DEFAULT_TTL_S


class Plugins(msgspec.Struct, frozen=True):
    """What a server block configures."""

    bind: tuple[str, ...] = ()
    kubernetes: Kubernetes | None = None
    errors: bool = False
    log: bool = False


class Site(msgspec.Struct, frozen=True):
    """A zone and the plugins that serve it."""

    zone: str
    plugins: Plugins


class Listener(msgspec.Struct, frozen=True):
    """An address and port, and the sites there; the empty address means every address of the machine."""

    address: str
    port: int
    sites: tuple[Site, ...]


def decode_config(blocks: Iterable[Block]) -> tuple[Listener, ...]:
    """Decode the server blocks of a Corefile.

    Raises:
        ConfigError: a zone, plugin, option or value that is not one; names file, line and token.
    """
    sites: dict[tuple[str, int], dict[str, Site]] = {}
    for block in blocks:
        labels = [(label, *_decode_label(label)) for label in block.labels]
        plugins = _decode_plugins(block.directives, tuple(zone for _, zone, _ in labels))
        for label, zone, port in labels:
            for address in plugins.bind or ("",):
                here = sites.setdefault((address, port), {})
                if zone in here:
                    raise label.error("expected each zone once on an address and port")
                here[zone] = Site(zone, plugins)
    return tuple(Listener(*where, tuple(here.values())) for where, here in sites.items())


def is_inside(zone: str, outer: str) -> bool:
    """Whether a zone is another one or lies below it."""
    return outer == "." or f".{zone}".endswith(f".{outer}")


def _decode_label(label: Token) -> tuple[str, int]:
    """Decode `[dns://]zone[:port]`, maybe with the comma that sets it off from the next."""
    transport, _, rest = label.text.rstrip(",").rpartition("://")
    if transport not in {"", "dns"}:
        raise label.error("expected the transport dns, others are not served")
    zone, colon, port = rest.partition(":")
    number = _decode_number(port, 1, 65535) if colon else DEFAULT_PORT
    if number is None:
        raise label.error("expected a port from 1 to 65535 after the zone")
    return _decode_zone(label, zone), number


def _decode_zone(token: Token, text: str) -> str:
    if not _ZONE.fullmatch(text):
        raise token.error("expected a zone such as cluster.local")
    try:
        zone = decode_name(encode_name(text.lower()))
    except NameFormatError as exc:
        raise token.error(str(exc)) from exc
    if is_inside(zone, "arpa."):
        raise token.error("expected a forward zone, reverse zones are not served")
    return zone


def _decode_number(text: str, low: int, high: int) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) and low <= int(text) <= high else None


def _decode_plugins(directives: Iterable[Directive], zones: tuple[str, ...]) -> Plugins:
    plugins = Plugins()
    seen: set[str] = set()
    for directive in directives:
        name = directive.name.text
        decode = _PLUGINS.get(name)
        if decode is None:
            raise directive.name.error(f"expected a plugin of coredns-lite: {', '.join(sorted(_PLUGINS))}")
        if name in seen and name != "bind":
            raise directive.name.error("expected each plugin once in a server block")
        seen.add(name)
        plugins = decode(plugins, directive, zones)
    return plugins


def _decode_bind(plugins: Plugins, directive: Directive, _zones: tuple[str, ...]) -> Plugins:
    """Decode `bind ADDRESS...`; several of them add up."""
    _refuse_block(directive)
    if not directive.args:
        raise directive.name.error("expected at least one IP address after it")
    addresses = [_decode_address(token) for token in directive.args]
    return replace(plugins, bind=tuple(dict.fromkeys((*plugins.bind, *addresses))))


def _decode_address(token: Token) -> str:
    try:
        return str(ip_address(token.text))
    except ValueError as exc:
        raise token.error("expected an IP address") from exc


def _decode_errors(plugins: Plugins, directive: Directive, _zones: tuple[str, ...]) -> Plugins:
    _refuse_anything(directive)
    return replace(plugins, errors=True)


def _decode_log(plugins: Plugins, directive: Directive, _zones: tuple[str, ...]) -> Plugins:
    _refuse_anything(directive)
    return replace(plugins, log=True)


def _decode_kubernetes(plugins: Plugins, directive: Directive, zones: tuple[str, ...]) -> Plugins:
    """Decode `kubernetes [ZONE...] { manifests DIR; ttl SECONDS }`; no zone means those of the block.

    `kubeconfig FILE` stands in the place of `manifests DIR` where the cluster has an API server.
    """
    own = []
    for token in directive.args:
        own.append(_decode_zone(token, token.text))
        if not any(is_inside(own[-1], outer) for outer in zones):
            raise token.error("expected a zone inside those of the server block")
    values: dict[str, Token] = {}
    for option in directive.block or ():
        if option.name.text not in {"kubeconfig", "manifests", "ttl"}:
            raise option.name.error("expected an option of kubernetes: kubeconfig, manifests, ttl")
        if option.name.text in values:
            raise option.name.error("expected each option once")
        if len(option.args) != 1:
            raise option.name.error(f"expected one value after it, got {len(option.args)}")
        if not option.args[0].text:
            raise option.args[0].error("expected a value")
        values[option.name.text] = option.args[0]
    origins = {name: Path(value.text) for name, value in values.items() if name != "ttl"}
    if len(origins) != 1:
        raise directive.name.error("expected one of the options manifests DIR, kubeconfig FILE in its block")
    ttl_s: int | None = DEFAULT_TTL_S
    if "ttl" in values:
        ttl_s = _decode_number(values["ttl"].text, 0, MAX_TTL_S)
    if ttl_s is None:
        raise values["ttl"].error(f"expected seconds from 0 to {MAX_TTL_S}")
    served = tuple(dict.fromkeys(own)) or zones
    return replace(plugins, kubernetes=Kubernetes(served, Origin(**origins), ttl_s))


def _refuse_anything(directive: Directive) -> None:
    _refuse_block(directive)
    if directive.args:
        raise directive.args[0].error(f"expected nothing after {directive.name.text}")


def _refuse_block(directive: Directive) -> None:
    if directive.block is not None:
        raise directive.name.error("expected no block, it has no options")


_PLUGINS: dict[str, Callable[[Plugins, Directive, tuple[str, ...]], Plugins]] = {
    "bind": _decode_bind,
    "errors": _decode_errors,
    "kubernetes": _decode_kubernetes,
    "log": _decode_log,
}
