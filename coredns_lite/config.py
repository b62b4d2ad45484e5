"""What a Corefile means: which addresses are listened on, and which plugins serve each zone there.

A site is for the names whose longest zone, among all sites on its address and port, is its own, as with
CoreDNS's server blocks.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from coredns_lite.corefile.lexer import Token
from coredns_lite.corefile.parser import Block, Directive
from coredns_lite.plugins import PLUGINS
from coredns_lite.zones import decode_zones

DEFAULT_PORTS: Mapping[str, int] = {"dns": 53, "tls": 853}

_PORT = re.compile(r"[0-9]{1,5}")
_MAX_PORT = 65_535

Configs = Mapping[str, tuple[Any, ...]]
"""The decoded lines of each plugin of a server block, by the plugin's name; one entry for each directive."""


class Site(msgspec.Struct, frozen=True):
    """A zone and the plugins that serve it."""

    zone: str
    plugins: Configs


class Listener(msgspec.Struct, frozen=True):
    """An address and port, and the sites there; the empty address means every address of the machine."""

    scheme: str
    address: str
    port: int
    sites: tuple[Site, ...]

    @property
    def name(self) -> str:
        """The server's name as CoreDNS's metrics have it."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.scheme}://{address}:{self.port}"


def decode_config(blocks: Iterable[Block]) -> tuple[Listener, ...]:
    """Decode the server blocks of a Corefile.

    Raises:
        ConfigError: a zone, plugin, option or value that is not one; names file, line and token.
    """
    sites: dict[tuple[str, str, int], dict[str, Site]] = {}
    for block in blocks:
        labels = [(label, *_decode_label(label)) for label in block.labels]
        plugins = _decode_plugins(block.directives, tuple(zone for *_, zones in labels for zone in zones))
        addresses = [address for bound in plugins.get("bind", ()) for address in bound]
        for label, scheme, port, zones in labels:
            for address in dict.fromkeys(addresses or [""]):
                here = sites.setdefault((scheme, address, port), {})
                for zone in zones:
                    if zone in here:
                        raise label.error("expected each zone once on an address and port")
                    here[zone] = Site(zone, plugins)
    return tuple(Listener(*where, tuple(here.values())) for where, here in sites.items())


def _decode_label(label: Token) -> tuple[str, int, tuple[str, ...]]:
    """Decode `[dns://|tls://]zone[:port]`, maybe with the comma that sets it off from the next."""
    scheme, _, rest = label.text.rstrip(",").rpartition("://")
    scheme = scheme or "dns"
    if scheme not in DEFAULT_PORTS:
        raise label.error(f"expected one of the transports {', '.join(DEFAULT_PORTS)}, others are not served")
    # A network of IPv6 has colons of its own: its port is what stands behind the prefix, if anything does.
    zone, colon, port = rest.rpartition(":")
    if not colon or "/" in port:
        return scheme, DEFAULT_PORTS[scheme], decode_zones(label, rest)
    if not _PORT.fullmatch(port) or not 0 < int(port) <= _MAX_PORT:
        raise label.error("expected a port from 1 to 65535 after the zone")
    return scheme, int(port), decode_zones(label, zone)


def _decode_plugins(directives: Iterable[Directive], zones: tuple[str, ...]) -> Configs:
    plugins: dict[str, tuple[Any, ...]] = {}
    for directive in directives:
        name = directive.name.text
        plugin = PLUGINS.get(name)
        if plugin is None:
            raise directive.name.error(f"expected a plugin of coredns-lite: {', '.join(sorted(PLUGINS))}")
        if name in plugins and not plugin.REPEATS:
            raise directive.name.error("expected each plugin once in a server block")
        plugins[name] = (*plugins.get(name, ()), plugin.decode(directive, zones))
    return plugins
