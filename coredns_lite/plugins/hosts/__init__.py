"""Serves names and addresses from a file like /etc/hosts, and from the Corefile itself.

Syntax:

    hosts [FILE [ZONE...]] {
        INLINE
        ttl SECONDS
        no_reverse
        reload DURATION
        fallthrough [ZONE...]
    }

FILE is `/etc/hosts` by default; a relative one counts from the directory that the program was started in.
ZONEs default to those of the server block; names outside go to the next plugin. INLINE are lines as in the
file, an address and its names: they add to it. `ttl` is from 1 to 65535 seconds, 3600 by default. Each
address also has a PTR record for each of its names, of whatever zone, unless there is `no_reverse`. The file
is looked at every `reload` (5s by default; 0 means never) and read again when it has changed; while it can't
be read the last entries stay in force. A name that is not there is SERVFAIL, or goes to the next plugin with
`fallthrough`, for names in its ZONEs if it has any; an address without names always goes to the next plugin.

```corefile
. {
    hosts /etc/coredns/custom.hosts example.org {
        10.0.0.1 db.example.org database.example.org
        fd00::1 db.example.org
        ttl 60
        no_reverse
        reload 10s
        fallthrough
    }
}
```

Metrics: `coredns_hosts_entries{}`, the names and addresses that are served;
`coredns_hosts_reload_timestamp_seconds{}`, when a file was last read.
"""

import asyncio
import logging
import time
from pathlib import Path

import msgspec
from prometheus_client import Gauge

from coredns_lite.corefile.parser import Directive
from coredns_lite.fallthrough import Fallthrough, decode_fallthrough
from coredns_lite.metrics import REGISTRY
from coredns_lite.options import decode_duration, decode_number, one_value, refuse_args
from coredns_lite.plugin import Client, Handler, Outcome, Surroundings
from coredns_lite.plugins.hosts.table import HostTable, is_entry, parse_hosts
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import RecordType
from coredns_lite.wire.reply import CONFIGURATION, Answer, Rcode
from coredns_lite.zones import ZoneTable, decode_zones, zone_set

REPEATS = False

DEFAULT_FILE = Path("/etc/hosts")
DEFAULT_TTL_S = 3600
DEFAULT_RELOAD_S = 5.0
_MAX_TTL_S = 65_535
_OPTIONS = ("ttl", "no_reverse", "reload", "fallthrough")

ENTRIES = Gauge("coredns_hosts_entries", "Names and addresses that are served", registry=REGISTRY)
READ_AT = Gauge("coredns_hosts_reload_timestamp_seconds", "When a file was last read", registry=REGISTRY)

# No SOA to give with NXDOMAIN: CoreDNS's answer (plugin/hosts/hosts.go).
_NOT_THERE = Answer(Rcode.SERVFAIL, is_authoritative=False, error="no such host", about=CONFIGURATION)
_NO_DATA = Answer(plugin="hosts", about=CONFIGURATION)

log = logging.getLogger(__name__)


class Hosts(msgspec.Struct, frozen=True):
    """The plugin's lines, decoded."""

    zones: tuple[str, ...]
    file: Path = DEFAULT_FILE
    inline: str = ""
    ttl_s: int = DEFAULT_TTL_S
    has_reverse: bool = True
    reload_s: float = DEFAULT_RELOAD_S
    fallthrough: tuple[str, ...] = ()


def decode(directive: Directive, zones: tuple[str, ...]) -> Hosts:
    """Decode `hosts [FILE [ZONE...]] { ... }`."""
    own = [zone for token in directive.args[1:] for zone in decode_zones(token)]
    options: dict[str, Directive] = {}
    inline = []
    for option in directive.block or ():
        if option.name.text in _OPTIONS:
            if option.name.text in options:
                raise option.name.error("expected each option once")
            options[option.name.text] = option
            continue
        line = " ".join(token.text for token in (option.name, *option.args))
        if not is_entry(line):
            raise option.name.error(
                f"expected an address and its names, or an option of hosts: {', '.join(_OPTIONS)}"
            )
        inline.append(line)
    ttl, reload, no_reverse = options.get("ttl"), options.get("reload"), options.get("no_reverse")
    if no_reverse:
        refuse_args(no_reverse)
    return Hosts(
        tuple(dict.fromkeys(own)) or zones,
        Path(directive.args[0].text) if directive.args else DEFAULT_FILE,
        "\n".join(inline),
        decode_number(one_value(ttl), "seconds", 1, _MAX_TTL_S) if ttl else DEFAULT_TTL_S,
        not no_reverse,
        decode_duration(one_value(reload)) if reload else DEFAULT_RELOAD_S,
        decode_fallthrough(options.get("fallthrough")),
    )


def build(config: Hosts, surroundings: Surroundings, following: Handler) -> Handler:
    """Build the link that serves a file's names."""

    def make() -> HostsFile:
        hosts = HostsFile(config)
        if config.reload_s:

            async def follow() -> None:
                await hosts.follow(surroundings)

            surroundings.run(follow)
        return hosts

    hosts = surroundings.shared(("hosts", config), make)
    return _Link(hosts, config, following)


class HostsFile:
    """The entries of a file and of the Corefile as they were last read."""

    def __init__(self, config: Hosts) -> None:
        self._config = config
        self._state: tuple[int, ...] | None = None
        self.table = HostTable({}, {})
        if not self.read_if_changed():
            self._take("")

    async def follow(self, surroundings: Surroundings) -> None:
        """Read the file whenever it has changed."""
        while True:
            await asyncio.sleep(self._config.reload_s)
            # A list of a hundred thousand names takes a while.
            if await asyncio.to_thread(self.read_if_changed):
                surroundings.changed()

    def read_if_changed(self) -> bool:
        """Read the file if it is another one than last time; return whether it was read."""
        try:
            status = self._config.file.stat()
            state = (status.st_mtime_ns, status.st_size, status.st_ino)
            if state == self._state:
                return False
            text = self._config.file.read_text(encoding="utf-8", errors="replace")
        except OSError as exc:
            if self._state != ():
                log.warning("hosts not read file=%s error=%r", self._config.file, exc.strerror)
            self._state = ()
            return False
        self._state = state
        self._take(text)
        return True

    def _take(self, text: str) -> None:
        self.table = parse_hosts(f"{text}\n{self._config.inline}", self._config.ttl_s, plugin="hosts")
        ENTRIES.set(len(self.table.names) + len(self.table.pointers))
        READ_AT.set(time.time())


class _Link:
    def __init__(self, hosts: HostsFile, config: Hosts, following: Handler) -> None:
        self._hosts = hosts
        self._zones: ZoneTable[None] = zone_set(config.zones)
        self._has_reverse = config.has_reverse
        self._fallthrough = Fallthrough(config.fallthrough)
        self._following = following

    def answer(self, query: Query, client: Client) -> Outcome:
        table = self._hosts.table
        if query.qtype == RecordType.PTR:
            # Addresses are in whatever zone, and those of others go on (plugin/hosts/hosts.go).
            pointer = table.pointers.get(query.name) if self._has_reverse else None
            return pointer or self._following.answer(query, client)
        if self._zones.find_zone(query.name) is None:
            return self._following.answer(query, client)
        found = table.names.get(query.name)
        if found is not None:
            return found.get(query.qtype, _NO_DATA)
        if self._fallthrough.applies(query.name):
            return self._following.answer(query, client)
        return _NOT_THERE
