"""The template of one record, and the data of a question that it is filled in with."""

import msgspec

from coredns_lite.corefile.lexer import Token
from coredns_lite.patterns import Found
from coredns_lite.plugin import Client
from coredns_lite.plugins.file.master_file import parse_record
from coredns_lite.plugins.template.expression import Data, TemplateError, parse_template
from coredns_lite.wire.names import decode_name
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import OF_QUESTION, Record, class_text, type_text

# That of miekg/dns's NewRR.
_DEFAULT_TTL_S = 3600
_FIELDS = frozenset({
    "Name", "Zone", "Class", "Type", "Remote", "Match", "Group",
    "Question.Name", "Question.Qtype", "Question.Qclass",
})  # fmt: skip
# What two packets with the same question may differ in.
_OF_PACKET = frozenset({"Remote", "Question.Name"})


class RecordTemplate(msgspec.Struct, frozen=True):
    """A text that becomes a record, which may be another for each question."""

    text: str

    @classmethod
    def decode(cls, token: Token, groups: frozenset[str], group_count: int) -> "RecordTemplate":
        """Decode a template that may name these groups.

        Raises:
            ConfigError: it is none, names what is not there, or is no record whatever the question.
        """
        try:
            template = parse_template(token.text)
            numbers = {str(number) for number in range(group_count + 1)}
            known = _FIELDS | {f"Group.{name}" for name in groups | numbers}
            unknown = sorted(template.fields - known)
            if unknown:
                raise TemplateError(f"expected one of .{', .'.join(sorted(known))}, got .{unknown[0]}")
            if all(isinstance(piece, str) for piece in template.pieces):
                parse_record(token.text, _DEFAULT_TTL_S)
        except ValueError as exc:
            raise token.error(str(exc)) from exc
        return cls(token.text)

    @property
    def names_packet(self) -> bool:
        """Whether it may say something else to another client, or to one that spells the name otherwise."""
        return not _OF_PACKET.isdisjoint(parse_template(self.text).fields)

    def make(self, data: Data, asked: bytes) -> Record:
        """Make the record for a question about a (lower-case wire) name.

        Raises:
            TemplateError: the template has no meaning for the data.
            ValueError: what it makes is no record.
        """
        record = parse_record(parse_template(self.text).render(data), _DEFAULT_TTL_S)
        # Written in the client's own spelling.
        return msgspec.structs.replace(record, owner=OF_QUESTION) if record.owner == asked else record


def build_data(query: Query, client: Client, zone: str, found: Found) -> Data:
    """Build what a template may name."""
    return {
        "Name": decode_name(query.name),
        "Zone": zone,
        "Class": class_text(query.qclass),
        "Type": type_text(query.qtype),
        "Remote": str(client.address),
        "Match": found.groups,
        "Group": {str(number): group for number, group in enumerate(found.groups)} | found.named,
        "Question": {
            "Name": decode_name(query.question[:-4]),
            "Qtype": query.qtype,
            "Qclass": query.qclass,
        },
    }
