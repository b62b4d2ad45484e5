r"""Answers with records that are made of the question by templates.

Syntax:

    template CLASS TYPE [ZONE...] {
        match REGEX...
        answer RECORD
        additional RECORD
        authority RECORD
        rcode CODE
        ederror CODE [REASON]
        fallthrough [ZONE...]
    }

CLASS (IN) and TYPE are those of the questions that are answered, `ANY` for all; ZONEs default to those of the
server block. `match` are regular expressions (RE2) that are looked for in the name, lower-cased and with its
final dot; the first that is found counts, and without any every name fits. Of a name in the zones that none
fits the answer is SERVFAIL; with `fallthrough` (for names in its ZONEs, if it has any) the next template is
asked, or the next plugin. Several of these directives may stand in a server block.

RECORD is a record as in a zone file, all names absolute, in which `{{ ... }}` is filled in as in Go's
templates; each of the three may stand several times. Without a TTL it has one of 3600 s. `rcode` is NOERROR
by default, `ederror` the number of an extended error (RFC 8914) with a text for people. If an answer is an
alias (CNAME) and an address was asked for, what the plugins behind say of its target follows.

A template may use

* `.Name`, the name that was asked for, in lower case; `.Zone`, the zone that it is in; `.Class` and `.Type`
* `index .Match 1`, the first group of the expression, `index .Match 0` all that it matched; `.Group.a`, the
  group called `a`
* `.Question.Name`, `.Question.Qtype`, `.Question.Qclass`: the question as it was sent, type and class as
  numbers
* `.Remote`, the client's address
* `parseInt .Group.a 16 8`, the number that a text writes in a base, of so many bits; `printf "%02x" VALUE`,
  `print`, `len`; `(...)`, and `VALUE | FUNCTION`

```corefile
. {
    template ANY ANY invalid {
        rcode NXDOMAIN
        authority "invalid. 60 {{ .Class }} SOA ns.invalid. hostmaster.invalid. (1 60 60 60 60)"
        ederror 21 "Blocked according to RFC2606"
    }
    template IN A example {
        match ^ip-(?P<a>[0-9]*)-(?P<b>[0-9]*)-(?P<c>[0-9]*)-(?P<d>[0-9]*)[.]example[.]$
        answer "{{ .Name }} 60 IN A {{ .Group.a }}.{{ .Group.b }}.{{ .Group.c }}.{{ .Group.d }}"
        fallthrough
    }
    template IN A example {
        match "^ip0a(?P<b>[a-f0-9]{2})(?P<c>[a-f0-9]{2})[.]example[.]$"
        answer "{{ .Name }} A 10.{{ parseInt .Group.b 16 8 }}.{{ parseInt .Group.c 16 8 }}.1"
        fallthrough
    }
    template IN PTR in-addr.arpa {
        match ^(?P<d>[0-9]*)[.](?P<c>[0-9]*)[.](?P<b>[0-9]*)[.](?P<a>[0-9]*)[.]in-addr[.]arpa[.]$
        answer "{{ .Name }} 60 IN PTR ip-{{ .Group.a }}-{{ .Group.b }}-{{ .Group.c }}-{{ .Group.d }}.example."
    }
    template IN ANY foogle.com {
        match "^foogle\.com\.$"
        answer "foogle.com 60 IN CNAME google.com"
    }
    forward . 10.0.0.9
}
```

Metrics: `coredns_template_matches_total{server, zone, view, class, type}`, answers that were made (the server
keeps them, unless they depend on the client); and what was wrong with a template and the data,
`coredns_template_template_failures_total` and `coredns_template_rr_failures_total{server, zone, view, class,
type, section, template}`: then the client gets SERVFAIL.

Differs from CoreDNS: a mistake in a template, a field or group that is not there, and a record that is none
whatever the name are found when the Corefile is read. `if`, `range`, variables, `.Meta` and `.Message` are
not there, nor is class CH, which is the plugin `chaos`'s.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from coredns_lite.aliases import follow_alias
from coredns_lite.corefile.lexer import Token
from coredns_lite.corefile.parser import Directive
from coredns_lite.fallthrough import Fallthrough, decode_fallthrough
from coredns_lite.options import decode_number, decode_rcode, decode_record_type, one_value
from coredns_lite.patterns import Found, Pattern
from coredns_lite.plugin import Client, Handler, Outcome, Surroundings
from coredns_lite.plugins.template.metrics import Counters
from coredns_lite.plugins.template.record import RecordTemplate, build_data
from coredns_lite.wire.names import decode_name, lower_name
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import Record, RecordType, type_text
from coredns_lite.wire.reply import CONFIGURATION, Answer, Rcode
from coredns_lite.zones import ZoneTable, decode_zones, zone_set

__all__ = ["REPEATS", "Template", "build", "decode"]

REPEATS = True

SECTIONS = ("answer", "authority", "additional")
_CLASSES = ("IN", "ANY")
_ADDRESSES = (RecordType.A, RecordType.AAAA)
_MAX_EXTENDED_ERROR = 0xFFFF
_NOBODY = Answer(Rcode.SERVFAIL, is_authoritative=False, plugin="template", about=CONFIGURATION)


class Template(msgspec.Struct, frozen=True):
    """The plugin's lines, decoded; ANY stands for every type."""

    rclass: str
    rtype: int
    zones: tuple[str, ...]
    patterns: tuple[Pattern, ...] = ()
    records: Mapping[str, tuple[RecordTemplate, ...]] = {}
    rcode: Rcode = Rcode.NOERROR
    extended_error: tuple[int, str] | None = None
    fall_zones: tuple[str, ...] = ()


def decode(directive: Directive, zones: tuple[str, ...]) -> Template:
    """Decode `template CLASS TYPE [ZONE...] { ... }`."""
    if len(directive.args) < 2:
        raise directive.name.error("expected a class and a type after it")
    rclass, rtype, *own = directive.args
    if rclass.text.upper() not in _CLASSES:
        raise rclass.error(f"expected one of the classes {', '.join(_CLASSES)}")
    named = tuple(dict.fromkeys(zone for token in own for zone in decode_zones(token)))
    values: dict[str, Any] = {}
    patterns: list[Pattern] = []
    texts: dict[str, list[Token]] = {section: [] for section in SECTIONS}
    for option in directive.block or ():
        name = option.name.text
        if name == "match":
            patterns += _decode_patterns(option)
        elif name in texts:
            texts[name].append(one_value(option))
        elif name not in _OPTIONS:
            known = ", ".join(sorted((*_OPTIONS, *texts, "match")))
            raise option.name.error(f"expected an option of template: {known}")
        else:
            field, decode_option = _OPTIONS[name]
            if field in values:
                raise option.name.error("expected each option once")
            values[field] = decode_option(option)
    if not texts["answer"] and not texts["authority"] and not values.get("rcode"):
        raise directive.name.error("expected an answer, an authority or an rcode other than NOERROR")
    groups = frozenset(name for pattern in patterns for name in pattern.group_names)
    most = max((pattern.group_count for pattern in patterns), default=0)
    records = {
        section: tuple(RecordTemplate.decode(token, groups, most) for token in tokens)
        for section, tokens in texts.items()
    }
    return Template(
        rclass.text.upper(), decode_record_type(rtype), named or zones, tuple(patterns), records, **values
    )


def build(config: Template, surroundings: Surroundings, following: Handler) -> Handler:
    """Build the link that answers."""
    counters = Counters(surroundings.server, config.rclass, type_text(config.rtype))
    return _Link(config, counters, following)


def _decode_patterns(option: Directive) -> list[Pattern]:
    if not option.args:
        raise option.name.error("expected at least one regular expression after it")
    return [Pattern.decode(token) for token in option.args]


def _decode_extended_error(option: Directive) -> tuple[int, str]:
    if not 1 <= len(option.args) <= 2:
        raise option.name.error("expected a number and maybe a text after it")
    code = decode_number(option.args[0], "the number of an extended error", 0, _MAX_EXTENDED_ERROR)
    return code, option.args[1].text if option.args[1:] else ""


_OPTIONS: Mapping[str, tuple[str, Callable[[Directive], Any]]] = {
    "ederror": ("extended_error", _decode_extended_error),
    "fallthrough": ("fall_zones", decode_fallthrough),
    "rcode": ("rcode", lambda option: decode_rcode(one_value(option))),
}


class _Link:
    def __init__(self, config: Template, counters: Counters, following: Handler) -> None:
        self._config = config
        self._counters = counters
        self._following = following
        self._zones: ZoneTable[None] = zone_set(config.zones)
        self._fallthrough = Fallthrough(config.fall_zones)
        self._names_packet = any(
            template.names_packet for templates in config.records.values() for template in templates
        )

    def answer(self, query: Query, client: Client) -> Outcome:
        config = self._config
        zone = self._zones.find_zone(query.name)
        is_of_type = RecordType.ANY in {config.rtype, query.qtype} or config.rtype == query.qtype
        if zone is None or not is_of_type:
            return self._following.answer(query, client)
        found = self._match(decode_name(query.name))
        if found is None:
            is_next = self._fallthrough.applies(query.name)
            return self._following.answer(query, client) if is_next else _NOBODY
        self._counters.count_match(decode_name(zone))
        return self._make(query, client, zone, found)

    def _match(self, name: str) -> Found | None:
        if not self._config.patterns:
            return Found((name,), {})
        return next((found for pattern in self._config.patterns if (found := pattern.find(name))), None)

    def _make(self, query: Query, client: Client, zone: bytes, found: Found) -> Outcome:
        config = self._config
        data = build_data(query, client, decode_name(zone), found)
        made: dict[str, list[Record]] = {section: [] for section in SECTIONS}
        for section, templates in config.records.items():
            for template in templates:
                try:
                    made[section].append(template.make(data, query.name))
                except ValueError as exc:
                    self._counters.count_failure(exc, decode_name(zone), section, template.text)
                    return msgspec.structs.replace(_NOBODY, is_lasting=False, error=f"template: {exc}")
        answer = Answer(
            config.rcode,
            tuple(made["answer"]),
            tuple(made["authority"]),
            tuple(made["additional"]),
            is_lasting=not self._names_packet,
            about=CONFIGURATION,
            extended_error=config.extended_error,
            plugin="template",
        )
        last = answer.answers[-1] if answer.answers else None
        if last and last.rtype == RecordType.CNAME and query.qtype in _ADDRESSES:
            return follow_alias(query, client, answer, lower_name(last.rdata), self._following)
        return answer
