"""How an answer to another question becomes one to the client's."""

from collections.abc import Mapping

import msgspec

from coredns_lite.plugins.rewrite.rules import Substitution
from coredns_lite.wire.names import NameFormatError, decode_name, encode_name, lower_name
from coredns_lite.wire.record import OF_QUESTION, Record, RecordType
from coredns_lite.wire.reply import Answer

# Bytes before the name in the data of these types.
_NAME_AT: Mapping[int, int] = {
    RecordType.NS: 0,
    RecordType.CNAME: 0,
    RecordType.PTR: 0,
    RecordType.DNAME: 0,
    RecordType.MX: 2,
    RecordType.SRV: 6,
}


class Restoration(msgspec.Struct, frozen=True):
    """Names in the answer to a rewritten question and what they become."""

    asked: bytes
    rewritten: bytes
    names: tuple[Substitution, ...] = ()
    values: tuple[Substitution, ...] = ()

    def restore(self, answer: Answer) -> Answer:
        """Return the answer to what the client asked."""
        return msgspec.structs.replace(
            answer,
            answers=tuple(self._restore(record) for record in answer.answers),
            authority=tuple(self._restore(record) for record in answer.authority),
            additional=tuple(self._restore(record) for record in answer.additional),
        )

    def _restore(self, record: Record) -> Record:
        owner = self._owner(record.owner)
        name_at = _NAME_AT.get(record.rtype)
        if name_at is None:
            return msgspec.structs.replace(record, owner=owner)
        target = self._target(record.rdata[name_at:])
        return msgspec.structs.replace(record, owner=owner, rdata=record.rdata[:name_at] + target)

    def _owner(self, owner: bytes) -> bytes:
        if owner == OF_QUESTION:
            return owner
        # What is about the name that was asked instead is now about the question, in the client's spelling.
        if lower_name(owner) == self.rewritten:
            return OF_QUESTION
        return _apply(self.names, owner)

    def _target(self, target: bytes) -> bytes:
        return self.asked if lower_name(target) == self.rewritten else _apply(self.values, target)


def _apply(substitutions: tuple[Substitution, ...], name: bytes) -> bytes:
    for substitution in substitutions:
        text = substitution.apply(decode_name(lower_name(name)))
        if text is not None:
            try:
                return encode_name(text)
            except NameFormatError:
                # Nothing better to say than what is there.
                return name
    return name
