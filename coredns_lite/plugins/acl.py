"""Decides by the client's address, and by type, who is answered.

Syntax:

    acl [ZONE...] {
        ACTION [type TYPE...] [net NETWORK...]
    }

ZONEs default to those of the server block. The first line counts whose types and networks both fit; one
without `type` or `net`, or with `*` there, fits all. Nothing fits: the query is answered. ACTION is `allow`,
`block` (REFUSED), `filter` (NOERROR without records) or `drop` (no reply at all; a client over TCP waits in
vain). NETWORK is an address or a network in CIDR notation.

Several of these lines may stand in a server block: each must let a query pass.

```corefile
. {
    acl {
        allow net 192.168.0.0/16 fd00::/8
        filter type ANY AXFR net *
        block
    }
    acl example.org {
        drop net 203.0.113.7
    }
}
```

Metrics: `coredns_acl_allowed_requests_total`, `coredns_acl_blocked_requests_total`,
`coredns_acl_filtered_requests_total`, `coredns_acl_dropped_requests_total`, each with `{server, zone, view}`.

Answers for names in these zones depend on who asks: the server keeps their replies, but looks at each client
before it gives one again, which takes several times as long as a reply for everybody. With `multisocket` the
program gives them, not its processes.
"""

from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network

import msgspec
from prometheus_client import Counter

from coredns_lite.corefile.lexer import Token
from coredns_lite.corefile.parser import Directive
from coredns_lite.metrics import REGISTRY
from coredns_lite.options import decode_record_type
from coredns_lite.plugin import Client, Handler, Outcome, Surroundings, after
from coredns_lite.wire.query import Query
from coredns_lite.wire.reply import Answer, Rcode
from coredns_lite.zones import decode_zones, zone_set

REPEATS = True

Network = IPv4Network | IPv6Network


class Action(StrEnum):
    """What happens to a query."""

    ALLOW = "allow"
    BLOCK = "block"
    FILTER = "filter"
    DROP = "drop"


_COUNTED_AS = {
    Action.ALLOW: "allowed",
    Action.BLOCK: "blocked",
    Action.FILTER: "filtered",
    Action.DROP: "dropped",
}
COUNTERS = {
    action: Counter(
        f"coredns_acl_{done}_requests",
        f"Queries {done} by acl",
        ["server", "zone", "view"],
        registry=REGISTRY,
    )
    for action, done in _COUNTED_AS.items()
}

_ANSWERS = {
    Action.BLOCK: Answer(Rcode.REFUSED, is_authoritative=False, is_lasting=False),
    Action.FILTER: Answer(is_authoritative=False, is_lasting=False),
    Action.DROP: Answer(is_dropped=True, is_lasting=False),
}


class Policy(msgspec.Struct, frozen=True):
    """One line: what to do with which types from where; None stands for all."""

    action: Action
    types: frozenset[int] | None = None
    networks: tuple[Network, ...] | None = None


class Acl(msgspec.Struct, frozen=True):
    """The plugin's lines, decoded."""

    zones: tuple[str, ...]
    policies: tuple[Policy, ...]


def decode(directive: Directive, zones: tuple[str, ...]) -> Acl:
    """Decode `acl [ZONE...] { ACTION [type TYPE...] [net NETWORK...] }`."""
    own = [zone for token in directive.args for zone in decode_zones(token)]
    if not directive.block:
        raise directive.name.error(f"expected a block with some of {', '.join(Action)}")
    return Acl(
        tuple(dict.fromkeys(own)) or zones, tuple(_decode_policy(option) for option in directive.block)
    )


def build(config: Acl, surroundings: Surroundings, following: Handler) -> Handler:
    """Build the link that lets queries pass or not."""
    return _Link(config, surroundings, following)


def _decode_policy(option: Directive) -> Policy:
    if option.name.text not in list(Action):
        raise option.name.error(f"expected one of {', '.join(Action)}")
    words: dict[str, list[Token]] = {}
    what = ""
    for token in option.args:
        if token.text in {"type", "net"}:
            if token.text in words:
                raise token.error("expected it once")
            what = token.text
            words[what] = []
        elif not what:
            raise token.error("expected type or net")
        else:
            words[what].append(token)
    for name, tokens in words.items():
        if not tokens:
            raise option.name.error(f"expected something after {name}")
    return Policy(
        Action(option.name.text), _decode_types(words.get("type")), _decode_networks(words.get("net"))
    )


def _decode_types(tokens: list[Token] | None) -> frozenset[int] | None:
    if tokens is None or any(token.text == "*" for token in tokens):
        return None
    return frozenset(decode_record_type(token) for token in tokens)


def _decode_networks(tokens: list[Token] | None) -> tuple[Network, ...] | None:
    if tokens is None or any(token.text == "*" for token in tokens):
        return None
    networks = []
    for token in tokens:
        try:
            networks.append(ip_network(token.text, strict=False))
        except ValueError as exc:
            raise token.error("expected an IP address or a network in CIDR notation") from exc
    return tuple(networks)


def choose(policies: tuple[Policy, ...], query: Query, client: Client) -> Action:
    """Say what happens to a query."""
    for policy in policies:
        if policy.types is not None and query.qtype not in policy.types:
            continue
        if policy.networks is None or any(client.address in network for network in policy.networks):
            return policy.action
    return Action.ALLOW


class _Link:
    def __init__(self, config: Acl, surroundings: Surroundings, following: Handler) -> None:
        self._zones = zone_set(config.zones)
        self._policies = config.policies
        self._following = following
        labels = (surroundings.server, surroundings.zone, "")
        self._counters = {action: counter.labels(*labels) for action, counter in COUNTERS.items()}

    def answer(self, query: Query, client: Client) -> Outcome:
        if self._zones.find_zone(query.name) is None:
            return self._following.answer(query, client)
        return self.refuse(query, client) or after(self._following.answer(query, client), self._guard)

    def refuse(self, query: Query, client: Client) -> Answer | None:
        """Say what a client gets instead of an answer, if it may not have it."""
        action = choose(self._policies, query, client)
        self._counters[action].inc()
        return _ANSWERS.get(action)

    def _guard(self, answer: Answer) -> Answer:
        return msgspec.structs.replace(answer, guards=(self, *answer.guards))
