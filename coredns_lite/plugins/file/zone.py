"""What a zone file's records say of a name (RFC 1034 section 4.3.2, wildcards: RFC 4592).

a cut above the name ──► referral: NS, with the addresses of those inside
the name, or the wildcard of its closest encloser ──► records, an alias and what it leads to, or no data
neither ──► NXDOMAIN
"""

from collections.abc import Iterator, Mapping

import msgspec

from coredns_lite.wire.names import encode_label, label_offsets, lower_name
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import OF_QUESTION, Record, RecordType, soa_serial
from coredns_lite.wire.reply import Answer, Rcode

_MAX_ALIASES = 8
_WILDCARD = encode_label(b"*")
_DS = 43
# Bytes before the name whose addresses are worth telling.
_TARGET_AT: Mapping[int, int] = {RecordType.NS: 0, RecordType.MX: 2, RecordType.SRV: 6}
_ADDRESSES = (RecordType.A, RecordType.AAAA)

Node = Mapping[int, tuple[Record, ...]]


class Zone:
    """The names of one zone file."""

    def __init__(self, origin: bytes, records: tuple[Record, ...]) -> None:
        """Arrange the records of a zone.

        Raises:
            ValueError: no SOA at its top, or more than one; a record outside of it; an alias with other data.
        """
        self.origin = origin
        self._nodes: dict[bytes, dict[int, tuple[Record, ...]]] = {}
        for record in records:
            if not _is_inside(record.owner, origin):
                raise ValueError("expected only names inside the zone")
            node = self._nodes.setdefault(record.owner, {})
            if record not in node.get(record.rtype, ()):
                node[record.rtype] = (*node.get(record.rtype, ()), record)
        soa = self._nodes.get(origin, {}).get(RecordType.SOA, ())
        if len(soa) != 1:
            raise ValueError("expected one SOA record of the zone itself")
        for node in self._nodes.values():
            aliases = node.get(RecordType.CNAME, ())
            # RFC 1034 section 3.6.2; signatures may stand beside (RFC 4034).
            others = [rtype for rtype in node if rtype < _DS and rtype != RecordType.CNAME]
            if len(aliases) > 1 or (aliases and others):
                raise ValueError("expected no other records where a CNAME is")
        self.soa = soa[0]
        # Names without records of their own that have names below exist too (RFC 4592 section 2.2.2).
        self._names = {name[at:] for name in self._nodes for at in label_offsets(name)} | {origin}

    @property
    def serial(self) -> int:
        """The SOA's serial number."""
        return soa_serial(self.soa)

    def records(self) -> Iterator[tuple[bytes, Record]]:
        """Yield every record with its owner, the SOA first and last (RFC 5936 section 2.2)."""
        yield self.origin, self.soa
        for name, node in self._nodes.items():
            for records in node.values():
                yield from ((name, record) for record in records if record is not self.soa)
        yield self.origin, self.soa

    def answer(self, query: Query) -> tuple[Answer, bytes | None]:
        """Answer a question for a name in the zone; say also which name outside an alias leads to."""
        name, owner = query.name, OF_QUESTION
        answers: list[Record] = []
        for _ in range(_MAX_ALIASES):
            cut = self._find_cut(name, query.qtype)
            if cut:
                return self._refer(cut, tuple(answers)), None
            node = self._find(name)
            if node is None:
                return self._deny(Rcode.NXDOMAIN, tuple(answers)), None
            alias = node.get(RecordType.CNAME, ())
            if not alias or query.qtype in (RecordType.CNAME, RecordType.ANY):
                found = _choose(node, query.qtype)
                answers += [_own(record, owner) for record in found]
                if not found:
                    return self._deny(Rcode.NOERROR, tuple(answers)), None
                return self._complete(tuple(answers)), None
            answers.append(_own(alias[0], owner))
            owner = name = lower_name(alias[0].rdata)
            if not _is_inside(name, self.origin):
                return self._complete(tuple(answers)), name
        return Answer(Rcode.SERVFAIL, error="too many aliases", is_lasting=False), None

    def _find(self, name: bytes) -> Node | None:
        """Find what a name has: its own, or its closest encloser's wildcard's."""
        if name in self._names:
            return self._nodes.get(name, {})
        for at in label_offsets(name):
            if name[at:] in self._names:
                return self._nodes.get(_WILDCARD + name[at:])
        return None

    def _find_cut(self, name: bytes, qtype: int) -> Node | None:
        """Find the topmost delegation at a name or above it; DS belongs to the upper side (RFC 4035)."""
        for at in reversed([*label_offsets(name)]):
            suffix = name[at:]
            if len(suffix) <= len(self.origin) or (at == 0 and qtype == _DS):
                continue
            node = self._nodes.get(suffix)
            if node and RecordType.NS in node:
                return node
        return None

    def _refer(self, cut: Node, answers: tuple[Record, ...]) -> Answer:
        servers = cut[RecordType.NS]
        return Answer(
            answers=answers,
            authority=servers,
            additional=self._addresses(servers),
            is_authoritative=bool(answers),
        )

    def _deny(self, rcode: Rcode, answers: tuple[Record, ...]) -> Answer:
        # RFC 2308 section 3: the lesser of the SOA's TTL and its minimum.
        ttl_s = min(self.soa.ttl_s, int.from_bytes(self.soa.rdata[-4:]))
        soa = msgspec.structs.replace(self.soa, ttl_s=ttl_s)
        return Answer(rcode, answers=answers, authority=(soa,))

    def _complete(self, answers: tuple[Record, ...]) -> Answer:
        return Answer(answers=answers, additional=self._addresses(answers))

    def _addresses(self, records: tuple[Record, ...]) -> tuple[Record, ...]:
        """Return the addresses, as far as the zone has them, of the names that records lead to."""
        found: dict[Record, None] = {}
        for record in records:
            at = _TARGET_AT.get(record.rtype)
            if at is not None:
                node = self._nodes.get(lower_name(record.rdata[at:]), {})
                for rtype in _ADDRESSES:
                    found.update(dict.fromkeys(node.get(rtype, ())))
        return tuple(found)


def _own(record: Record, owner: bytes) -> Record:
    return msgspec.structs.replace(record, owner=owner)


def _choose(node: Node, qtype: int) -> tuple[Record, ...]:
    if qtype != RecordType.ANY:
        return node.get(qtype, ())
    # One of the sets is answer enough (RFC 8482 section 4.1).
    return next(iter(node.values()), ())


def _is_inside(name: bytes, origin: bytes) -> bool:
    return name == origin or any(name[at:] == origin for at in label_offsets(name)) or origin == b"\0"
