"""Orders the addresses and mail exchangers of an answer, so that clients spread over them.

Syntax:

    loadbalance [round_robin|weighted FILE] {
        reload DURATION
        prefer NETWORK...
    }

* `round_robin` (the default): answers of two or more A, AAAA or MX records are turned by one for each query;
  other records stay in front of them.
* `weighted`: one address of an answer is put first, by chance and as often as its weight in FILE says; the
  others stay as they are. A line of FILE with one word is a name, the lines below it are its addresses, each
  with its weight from 1 to 255; an address that is not there has 1. Blank lines, and lines that begin with
  `#`, mean nothing. The file is looked at every `reload` (30s by default, 0s means never); one that is wrong
  is an error when the program starts, and later leaves the last good one in force.
* `prefer`: addresses in these networks come before all others, in the order that they have otherwise.

```corefile
. {
    loadbalance round_robin
}
```

```corefile
example.org {
    loadbalance weighted /etc/coredns/weights {
        reload 10s
        prefer 10.0.0.0/8 fd00::/8
    }
    file /etc/coredns/db.example.org
}
```

Metrics: none.

Answers of `weighted` and `prefer` are ordered for each query: they are not kept whole in the server's own
cache.

Differs from CoreDNS: turned rather than shuffled, so that each address comes first equally often.
"""

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path

import msgspec

from coredns_lite.corefile.lexer import Token
from coredns_lite.corefile.parser import Directive
from coredns_lite.options import decode_duration, one_value, read_options
from coredns_lite.plugin import Client, Handler, Outcome, Surroundings, after
from coredns_lite.plugins.loadbalance.weights import WeightFile
from coredns_lite.rotation import turn
from coredns_lite.wire.names import lower_name
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import OF_QUESTION, Record, RecordType
from coredns_lite.wire.reply import Answer

REPEATS = False

DEFAULT_RELOAD_S = 30.0
TURNED = frozenset({RecordType.A, RecordType.AAAA, RecordType.MX})
_ADDRESSES = (RecordType.A, RecordType.AAAA)

Network = IPv4Network | IPv6Network


class Loadbalance(msgspec.Struct, frozen=True):
    """The plugin's lines, decoded; without a file, addresses take turns."""

    weights: Path | None = None
    reload_s: float = DEFAULT_RELOAD_S
    preferred: tuple[Network, ...] = ()


def decode(directive: Directive, _zones: tuple[str, ...]) -> Loadbalance:
    """Decode `loadbalance [round_robin|weighted FILE] { reload DURATION; prefer NETWORK... }`."""
    policy = [token.text for token in directive.args]
    is_weighted = bool(policy) and policy[0] == "weighted"
    if is_weighted and len(policy) != 2:
        raise directive.args[0].error("expected one file after it")
    if not is_weighted and policy not in ([], ["round_robin"]):
        raise directive.args[0].error("expected round_robin, or weighted and a file")
    options = read_options(directive, "reload", "prefer")
    reload, prefer = options.get("reload"), options.get("prefer")
    if reload and not is_weighted:
        raise reload.name.error("expected it with weighted only")
    if prefer and not prefer.args:
        raise prefer.name.error("expected at least one network after it")
    return Loadbalance(
        Path(policy[1]) if is_weighted else None,
        decode_duration(one_value(reload)) if reload else DEFAULT_RELOAD_S,
        tuple(_decode_network(token) for token in prefer.args) if prefer else (),
    )


def build(config: Loadbalance, surroundings: Surroundings, following: Handler) -> Handler:
    """Build the link that has answers turned, or orders them itself.

    Raises:
        ConfigError: the file of weights can't be read, or is wrong.
    """
    if config.weights is None and not config.preferred:
        # The packet loops turn them, from their caches too.
        return _Turning(following)
    order: Order = _turns()
    if config.weights is not None:
        order = _by_weight(_share(config, config.weights, surroundings))
    return _Ordering(order, config.preferred, following)


def _share(config: Loadbalance, path: Path, surroundings: Surroundings) -> WeightFile:
    def make() -> WeightFile:
        file = WeightFile(path)
        if config.reload_s:

            async def follow() -> None:
                while True:
                    await asyncio.sleep(config.reload_s)
                    await asyncio.to_thread(file.refresh)

            surroundings.run(follow)
        return file

    return surroundings.shared(("weights", path, config.reload_s), make)


def _decode_network(token: Token) -> Network:
    try:
        return ip_network(token.text, strict=False)
    except ValueError as exc:
        raise token.error("expected an IP address or a network in CIDR notation") from exc


class _Turning:
    def __init__(self, following: Handler) -> None:
        self._following = following

    def answer(self, query: Query, client: Client) -> Outcome:
        return after(self._following.answer(query, client), rotate)


def rotate(answer: Answer) -> Answer:
    """Mark an answer that is to be turned."""
    if sum(record.rtype in TURNED for record in answer.answers) < 2:
        return answer
    return msgspec.structs.replace(answer, is_rotated=True)


Order = Callable[[Answer, bytes], Answer]
"""Orders the records of an answer to a question about a (lower-case wire) name."""


class _Ordering:
    def __init__(self, order: Order, preferred: Sequence[Network], following: Handler) -> None:
        self._order = order
        self._preferred = preferred
        self._following = following

    def answer(self, query: Query, client: Client) -> Outcome:
        def order(answer: Answer) -> Answer:
            if sum(record.rtype in TURNED for record in answer.answers) < 2:
                return answer
            ordered = self._order(answer, query.name)
            if self._preferred:
                ordered = prefer(ordered, self._preferred)
            return msgspec.structs.replace(ordered, is_lasting=False)

        return after(self._following.answer(query, client), order)


def prefer(answer: Answer, networks: Sequence[Network]) -> Answer:
    """Put the addresses of some networks before all others; each other record stays where it is."""
    places = [place for place, record in enumerate(answer.answers) if record.rtype in _ADDRESSES]
    found = [answer.answers[place] for place in places]
    # Sorting is stable.
    found.sort(key=lambda record: not _is_inside(record, networks))
    records = list(answer.answers)
    for place, record in zip(places, found, strict=True):
        records[place] = record
    return msgspec.structs.replace(answer, answers=tuple(records))


def _is_inside(record: Record, networks: Sequence[Network]) -> bool:
    address = ip_address(record.rdata)
    return any(address in network for network in networks)


def _turns() -> Order:
    step = itertools.count()
    return lambda answer, _: turn(answer, next(step))


def _by_weight(file: WeightFile) -> Order:
    def order(answer: Answer, asked: bytes) -> Answer:
        places = [place for place, record in enumerate(answer.answers) if record.rtype in _ADDRESSES]
        if not places:
            return answer
        records = list(answer.answers)
        weights = [_weight(file, records[place], asked) for place in places]
        (chosen,) = random.choices(places, weights)
        records.insert(places[0], records.pop(chosen))
        return msgspec.structs.replace(answer, answers=tuple(records))

    return order


def _weight(file: WeightFile, record: Record, asked: bytes) -> int:
    owner = asked if record.owner == OF_QUESTION else lower_name(record.owner)
    return file.weight(owner, record.rdata)
