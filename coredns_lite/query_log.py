"""The lines of the plugin `log`: which queries have one, and what is in it.

A line is made from the reply alone, which repeats all that it needs of the query: the packet loop keeps no
more for it. A reply without a question (to a malformed packet) belongs to no site and has no line.
"""

import logging
import re
import struct
from collections.abc import Callable, Mapping
from enum import StrEnum

import msgspec

from coredns_lite.client import Client
from coredns_lite.wire.names import ROOT, decode_name, lower_name, read_name, skip_name
from coredns_lite.wire.query import DNSSEC_OK, HEADER, MIN_REPLY_BYTES, OPCODE_MASK, Flag
from coredns_lite.wire.record import RecordType, class_text, type_text
from coredns_lite.wire.reply import Rcode
from coredns_lite.zones import ZoneTable, zone_set

_PROTOCOLS = {"udp": "udp", "tcp": "tcp", "tls": "tcp"}
_TYPE_AND_CLASS = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_RCODE_MASK = 0xF
_RCODES = {int(rcode): rcode.name for rcode in Rcode}

# CoreDNS's own (plugin/log/setup.go and its documentation).
COMMON = (
    '{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}"'
    " {rcode} {>rflags} {rsize} {duration}"
)
FORMATS: Mapping[str, str] = {"{common}": COMMON, "{combined}": f'{COMMON} "{{>opcode}}"'}

QueryLog = Callable[[Client, int, bytes, float], None]
"""Told of each reply: who asked, the query's size in bytes, the reply, how long it took in seconds."""

log = logging.getLogger(__name__)


class ResponseClass(StrEnum):
    """What a `class` of the plugin chooses by."""

    SUCCESS = "success"
    DENIAL = "denial"
    ERROR = "error"
    ALL = "all"


class LogRule(msgspec.Struct, frozen=True):
    """Names in these zones whose replies are of these classes are logged in a format."""

    zones: tuple[str, ...] = (".",)
    format: str = COMMON
    classes: frozenset[ResponseClass] = frozenset({ResponseClass.ALL})


class Entry(msgspec.Struct, frozen=True):
    """One query and its reply, as a line tells of it."""

    client: Client
    query_bytes: int
    reply: bytes
    duration_s: float
    name: bytes
    qtype: int
    qclass: int
    rcode: int
    bufsize: int
    do: bool


PLACEHOLDERS: Mapping[str, Callable[[Entry], str]] = {
    "{type}": lambda entry: type_text(entry.qtype),
    "{name}": lambda entry: decode_name(entry.name),
    "{class}": lambda entry: class_text(entry.qclass),
    "{proto}": lambda entry: _PROTOCOLS[entry.client.transport],
    "{remote}": lambda entry: (
        f"[{entry.client.address}]" if entry.client.address.version == 6 else str(entry.client.address)
    ),
    "{port}": lambda entry: str(entry.client.port),
    "{size}": lambda entry: str(entry.query_bytes),
    "{rcode}": lambda entry: rcode_text(entry.rcode),
    "{rsize}": lambda entry: str(len(entry.reply)),
    "{duration}": lambda entry: f"{entry.duration_s:.9f}s",
    "{>id}": lambda entry: str(_header(entry)[0]),
    "{>opcode}": lambda entry: str((_header(entry)[1] & OPCODE_MASK) >> 11),
    "{>do}": lambda entry: str(entry.do).lower(),
    "{>bufsize}": lambda entry: str(entry.bufsize),
    "{>rflags}": lambda entry: ",".join(flag.name.lower() for flag in Flag if _header(entry)[1] & flag),
}
_PLACEHOLDER = re.compile(r"\{[^{}\s]*\}")


class SiteQueryLog:
    """Logs the queries for names whose site asks for it; of several rules the first counts that fits."""

    def __init__(self, sites: ZoneTable[tuple[LogRule, ...]]) -> None:
        self._sites = sites

    def __call__(self, client: Client, query_bytes: int, reply: bytes, duration_s: float) -> None:
        """Write the line of one query, if it is to have one."""
        if not has_question(reply):
            return
        lower = lower_name(read_name(reply, HEADER.size)[0])
        for rule in self._sites.find(lower) or ():
            if zone_set(rule.zones).find_zone(lower) is None:
                continue
            if ResponseClass.ALL in rule.classes or classify(reply) in rule.classes:
                entry = read_entry(client, query_bytes, reply, duration_s)
                log.info("%s", render_line(rule.format, entry))
            return


def build_query_log(rules: Mapping[str, tuple[LogRule, ...]]) -> QueryLog | None:
    """Build what logs the queries that come to a listener by the rules of its sites; None without any."""
    return SiteQueryLog(ZoneTable(rules)) if any(rules.values()) else None


def has_question(reply: bytes) -> bool:
    """Whether a reply repeats the question."""
    question_count: int = HEADER.unpack_from(reply)[2]
    return question_count > 0


def classify(reply: bytes) -> ResponseClass:
    """Say which class a reply is of, as CoreDNS's plugin/pkg/response does."""
    _, flags, _, answers, _, _ = HEADER.unpack_from(reply)
    rcode = flags & _RCODE_MASK
    if rcode == Rcode.NXDOMAIN or (rcode == Rcode.NOERROR and not answers and flags & Flag.AA):
        return ResponseClass.DENIAL
    return ResponseClass.SUCCESS if rcode == Rcode.NOERROR else ResponseClass.ERROR


def read_entry(client: Client, query_bytes: int, reply: bytes, duration_s: float) -> Entry:
    """Read what a line needs from a reply with a question."""
    name, end = read_name(reply, HEADER.size)
    qtype, qclass = _TYPE_AND_CLASS.unpack_from(reply, end)
    rcode, bufsize, do = HEADER.unpack_from(reply)[1] & _RCODE_MASK, MIN_REPLY_BYTES, False
    opt = _find_opt(reply, end + _TYPE_AND_CLASS.size)
    if opt is not None:
        _, bufsize, ttl, _ = _RECORD.unpack_from(reply, opt)
        rcode, do = ttl >> 24 << 4 | rcode, bool(ttl & DNSSEC_OK)
    return Entry(client, query_bytes, reply, duration_s, name, qtype, qclass, rcode, bufsize, do)


def render_line(format_text: str, entry: Entry) -> str:
    """Render the line of one query; a placeholder that nobody knows is a dash."""

    def fill(match: re.Match[str]) -> str:
        placeholder = PLACEHOLDERS.get(match[0])
        return placeholder(entry) if placeholder else "-"

    return _PLACEHOLDER.sub(fill, format_text)


def rcode_text(rcode: int) -> str:
    """Write a response code."""
    return _RCODES.get(rcode, f"RCODE{rcode}")


def _header(entry: Entry) -> tuple[int, ...]:
    return HEADER.unpack_from(entry.reply)


def _find_opt(reply: bytes, offset: int) -> int | None:
    """Return where the type of our OPT record stands: it is the last record."""
    _, _, _, *counts = HEADER.unpack_from(reply)
    for _ in range(sum(counts)):
        owner, offset = reply[offset : offset + 1], skip_name(reply, offset)
        rtype, _, _, size_bytes = _RECORD.unpack_from(reply, offset)
        if rtype == RecordType.OPT and owner == ROOT:
            return offset
        offset += _RECORD.size + size_bytes
    return None
