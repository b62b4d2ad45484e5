"""A Kubernetes zone: what it says of any name inside it, and which zone a name is in."""

from collections.abc import Mapping
from typing import Generic, TypeVar

from coredns_lite.message import Answer, Query, Rcode, build_answer
from coredns_lite.name_index import NameIndex
from coredns_lite.names import ROOT, label_offsets
from coredns_lite.records import QUESTION_OFFSET, RecordType, render_soa

V = TypeVar("V")


class Zone:
    """The names of a cluster under one origin (wire form, lower case)."""

    def __init__(self, origin: bytes, index: NameIndex) -> None:
        self.origin = origin
        self._index = index

    def answer(self, query: Query) -> Answer:
        """Answer a question for a name in this zone.

        Before the first snapshot every name is SERVFAIL: a client tries elsewhere or again, and does not
        remember, as it would with NXDOMAIN, that the name is not there.
        """
        index = self._index
        zone_at = len(query.name) - len(self.origin)
        soa = render_soa(QUESTION_OFFSET + zone_at, index.serial, index.ttl_s)
        if not index.is_complete:
            return build_answer(rcode=Rcode.SERVFAIL, authority=(soa,))
        if not zone_at:
            return build_answer((soa,)) if query.qtype == RecordType.SOA else build_answer(authority=(soa,))
        answers = index.find(query.name[:zone_at])
        if answers is None:
            return build_answer(rcode=Rcode.NXDOMAIN, authority=(soa,))
        # A name without records of this type, ANY included as in CoreDNS: NODATA (RFC 2308 section 2.2).
        return answers.get(query.qtype) or build_answer(authority=(soa,))


class ZoneTable(Generic[V]):
    """Values by zone (wire form, lower case), found by the longest zone that a name is in."""

    def __init__(self, values: Mapping[bytes, V]) -> None:
        self._values = dict(values)

    def find(self, name: bytes) -> V | None:
        """Return the value of the longest zone that holds the (lower-case) name, or None if there is none."""
        for at in label_offsets(name):
            if name[at:] in self._values:
                return self._values[name[at:]]
        return self._values.get(ROOT)
