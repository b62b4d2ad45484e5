"""Serves zones from zone files (RFC 1035 section 5).

Syntax:

    file FILE [ZONE...] {
        reload DURATION
        fallthrough [ZONE...]
    }

ZONEs default to those of the server block; each is read from FILE with itself as the origin. Every type of
record may be written as RFC 3597 has it; those known by their data are A, AAAA, CAA, CNAME, DNAME, DNSKEY,
DS, HINFO, MX, NAPTR, NS, PTR, SOA, SRV, SSHFP, TLSA, TXT and URI. Wildcards, delegations with the addresses
of their name servers, aliases and denials with the SOA are as in RFC 1034, RFC 2308 and RFC 4592; an alias
out of the zone is followed through the plugins behind, if they know it.

The file is looked at every `reload` (1m by default, 0 means never) and served anew when its SOA has another
serial. One that is wrong when the program starts is an error; later the last good version stays in force.
With `fallthrough` names that don't exist go to the next plugin, those in its ZONEs if it has any. The plugin
`transfer` hands the zones on.

```corefile
example.org {
    file /etc/coredns/db.example.org {
        reload 30s
    }
    transfer {
        to 10.0.0.7
    }
    errors
}
```

Metrics: none.

Differs from CoreDNS: no signatures are made or served with DO, `$INCLUDE` and `$GENERATE` are not read, and
no name is made up below a DNAME.
"""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import msgspec

from coredns_lite.aliases import follow_alias
from coredns_lite.corefile.parser import Directive
from coredns_lite.fallthrough import Fallthrough, decode_fallthrough
from coredns_lite.options import decode_duration, one_value, read_options
from coredns_lite.plugin import Client, Handler, Outcome, Surroundings
from coredns_lite.plugins.file.master_file import parse_zone
from coredns_lite.plugins.file.zone import Zone
from coredns_lite.transfers import Offer, offer_zone
from coredns_lite.wire.names import encode_name
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import Record
from coredns_lite.wire.reply import CONFIGURATION, Rcode
from coredns_lite.zones import ZoneTable, decode_zones
from nodeplane.errors import ConfigError

REPEATS = True

DEFAULT_RELOAD_S = 60.0

log = logging.getLogger(__name__)


class File(msgspec.Struct, frozen=True):
    """The plugin's lines, decoded."""

    file: Path
    zones: tuple[str, ...]
    reload_s: float = DEFAULT_RELOAD_S
    fallthrough: tuple[str, ...] = ()


def decode(directive: Directive, zones: tuple[str, ...]) -> File:
    """Decode `file FILE [ZONE...] { reload DURATION; fallthrough [ZONE...] }`."""
    if not directive.args:
        raise directive.name.error("expected a zone file after it")
    file, *own = directive.args
    options = read_options(directive, "reload", "fallthrough")
    named = tuple(dict.fromkeys(zone for token in own for zone in decode_zones(token)))
    return File(
        Path(file.text),
        named or zones,
        decode_duration(one_value(options["reload"])) if "reload" in options else DEFAULT_RELOAD_S,
        decode_fallthrough(options.get("fallthrough")),
    )


def build(config: File, surroundings: Surroundings, following: Handler) -> Handler:
    """Build the link that serves the zones of a file.

    Raises:
        ConfigError: the file can't be read, or is wrong.
    """
    files = {zone: _share(config, zone, surroundings) for zone in config.zones}
    for zone, file in files.items():
        offer_zone(surroundings, zone, Offer(file.soa, file.records))
    return _Link(files, Fallthrough(config.fallthrough), following)


def _share(config: File, zone: str, surroundings: Surroundings) -> "ZoneFile":
    def make() -> ZoneFile:
        file = ZoneFile(config.file, encode_name(zone))
        if config.reload_s:

            async def follow() -> None:
                await file.follow(config.reload_s, surroundings)

            surroundings.run(follow)
        return file

    return surroundings.shared(("file", config.file, zone, config.reload_s), make)


class ZoneFile:
    """A zone as its file last had it."""

    def __init__(self, path: Path, origin: bytes) -> None:
        self._path = path
        self._origin = origin
        self._complaint = ""
        self.zone = self._read()

    def soa(self) -> Record:
        """Return the zone's SOA for a transfer."""
        return self.zone.soa

    def records(self) -> Iterator[tuple[bytes, Record]]:
        """Yield the zone's records for a transfer."""
        return self.zone.records()

    async def follow(self, interval_s: float, surroundings: Surroundings) -> None:
        """Read the file again and again, and serve it when its serial is another."""
        while True:
            await asyncio.sleep(interval_s)
            if await asyncio.to_thread(self.refresh):
                surroundings.changed()

    def refresh(self) -> bool:
        """Take the file if its serial is another; return whether it was taken."""
        try:
            zone = self._read()
        except ConfigError as exc:
            if self._complaint != str(exc):
                self._complaint = str(exc)
                log.error("zone not read, the last version stays in force error=%r", self._complaint)
            return False
        self._complaint = ""
        if zone.serial == self.zone.serial:
            return False
        log.info("zone read file=%s serial=%d", self._path, zone.serial)
        self.zone = zone
        return True

    def _read(self) -> Zone:
        try:
            text = self._path.read_text(encoding="utf-8")
        except UnicodeDecodeError as exc:
            raise ConfigError(str(self._path), "", f"expected UTF-8 text, byte {exc.start} is not") from exc
        except OSError as exc:
            raise ConfigError(str(self._path), "", f"expected a readable file: {exc.strerror}") from exc
        records = parse_zone(text, str(self._path), self._origin)
        try:
            return Zone(self._origin, records)
        except ValueError as exc:
            raise ConfigError(str(self._path), "", str(exc)) from exc


class _Link:
    def __init__(self, files: dict[str, ZoneFile], fallthrough: Fallthrough, following: Handler) -> None:
        self._files = ZoneTable(files)
        self._fallthrough = fallthrough
        self._following = following

    def answer(self, query: Query, client: Client) -> Outcome:
        file = self._files.find(query.name)
        if file is None:
            return self._following.answer(query, client)
        answer, target = file.zone.answer(query)
        answer = msgspec.structs.replace(answer, plugin="file", about=CONFIGURATION)
        if target is not None:
            return follow_alias(query, client, answer, target, self._following)
        is_missing = answer.rcode == Rcode.NXDOMAIN and not answer.answers
        if is_missing and self._fallthrough.applies(query.name):
            return self._following.answer(query, client)
        return answer
