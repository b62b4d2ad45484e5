"""The option `fallthrough` of plugins: whose names go on to the next plugin when this one has no answer."""

from coredns_lite.corefile.parser import Directive
from coredns_lite.zones import ZoneTable, decode_zones, zone_set

NOWHERE: tuple[str, ...] = ()
EVERYWHERE = (".",)


def decode_fallthrough(option: Directive | None) -> tuple[str, ...]:
    """Decode `fallthrough [ZONE...]` into zones: all without any, none without the option.

    Raises:
        ConfigError: a zone that is none.
    """
    if option is None:
        return NOWHERE
    return tuple(dict.fromkeys(zone for token in option.args for zone in decode_zones(token))) or EVERYWHERE


class Fallthrough:
    """Tells of names whether they go on."""

    def __init__(self, zones: tuple[str, ...]) -> None:
        self._zones: ZoneTable[None] = zone_set(zones)

    def applies(self, name: bytes) -> bool:
        """Whether a (lower-case wire) name goes on to the next plugin."""
        return self._zones.find_zone(name) is not None
