"""Lets peers have whole zones (AXFR).

Syntax:

    transfer [ZONE...] {
        to ADDRESS|NETWORK|*...
    }

The zones of `kubernetes` and `file` in the server block can be had over TCP or TLS by whoever has one of the
addresses; zones default to all of them. Anybody else, and an AXFR over UDP, is refused. A transfer is of the
zone as it is when it begins, whatever changes meanwhile. An IXFR is answered with the SOA alone if the peer
has this version already (by its serial number), and over UDP, where it tells whether there is a newer one;
else with the whole zone, as RFC 1995 section 4 allows a server that keeps no history. One without the peer's
SOA is FORMERR.

No NOTIFY is sent: a cluster's zone changes with every endpoint, many times a second, and a zone file's
secondaries find a change as often as its SOA says (`refresh`). One that comes is answered NOTIMP: this
program is nobody's secondary.

```corefile
cluster.local {
    kubernetes {
        manifests /etc/nodeplane/manifests
    }
    transfer {
        to 10.0.0.0/8 fd00::53
    }
}
```

Metrics: none.

Differs from CoreDNS: it sends a NOTIFY to peers for zone files, refuses an IXFR over UDP, and answers a
NOTIFY as if it were a query. A transfer here always ends, also where no name server's address is known
(CoreDNS 1.13 hangs there).
"""

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

import msgspec

from coredns_lite.corefile.lexer import Token
from coredns_lite.corefile.parser import Directive
from coredns_lite.plugin import Client, Handler, Outcome, Surroundings
from coredns_lite.transfers import Offer, Records, is_current, offered_zones
from coredns_lite.wire.names import encode_name
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import Record, RecordType
from coredns_lite.wire.reply import Answer, Rcode
from coredns_lite.zones import decode_zones, is_inside

REPEATS = True

_REFUSED = Answer(Rcode.REFUSED, is_authoritative=False, is_lasting=False, plugin="transfer")
_FORMERR = Answer(Rcode.FORMERR, is_authoritative=False, is_lasting=False, plugin="transfer")
_SERVFAIL = Answer(Rcode.SERVFAIL, is_authoritative=False, is_lasting=False, plugin="transfer")


class Transfer(msgspec.Struct, frozen=True):
    """The plugin's lines, decoded: no networks means everybody."""

    zones: tuple[str, ...]
    peers: tuple[IPv4Network | IPv6Network, ...]
    is_open: bool


def decode(directive: Directive, zones: tuple[str, ...]) -> Transfer:
    """Decode `transfer [ZONE...] { to ADDRESS|NETWORK|*... }`."""
    own = []
    for token in directive.args:
        for zone in decode_zones(token):
            if not any(is_inside(zone, outer) for outer in zones):
                raise token.error("expected a zone inside those of the server block")
            own.append(zone)
    peers: list[Token] = []
    for option in directive.block or ():
        if option.name.text != "to":
            raise option.name.error("expected an option of transfer: to")
        if not option.args:
            raise option.name.error("expected at least one address, network or * after it")
        peers += option.args
    if not peers:
        raise directive.name.error("expected the option to ADDRESS|NETWORK|* in its block")
    networks = tuple(_decode_network(token) for token in peers if token.text != "*")
    return Transfer(tuple(own), networks, is_open=len(networks) < len(peers))


def build(config: Transfer, surroundings: Surroundings, following: Handler) -> Handler:
    """Build the link that answers AXFR and IXFR."""
    return _Link(config, offered_zones(surroundings), following)


class _Link:
    def __init__(self, config: Transfer, offered: dict[str, Offer], following: Handler) -> None:
        self._config = config
        self._offered = {
            encode_name(zone): offer
            for zone, offer in offered.items()
            if not config.zones or any(is_inside(zone, outer) for outer in config.zones)
        }
        self._following = following

    def answer(self, query: Query, client: Client) -> Outcome:
        if query.qtype not in (RecordType.AXFR, RecordType.IXFR):
            return self._following.answer(query, client)
        offer = self._offered.get(query.name)
        if offer is not None and self._allows(client):
            return _transfer(offer, query, client)
        # Another line may have it, or for whom; behind the last one nobody knows of transfers.
        return self._following.answer(query, client) if isinstance(self._following, _Link) else _REFUSED

    def _allows(self, client: Client) -> bool:
        return self._config.is_open or any(client.address in network for network in self._config.peers)


def _transfer(offer: Offer, query: Query, client: Client) -> Answer:
    is_udp, is_incremental = client.transport == "udp", query.qtype == RecordType.IXFR
    if is_udp and not is_incremental:
        return _REFUSED
    soa = offer.soa()
    if soa is None:
        # Nothing is known yet, which is not the same as an empty zone.
        return _SERVFAIL
    if is_incremental and query.serial is None:
        return _FORMERR
    if query.serial is not None and (is_udp or is_current(query.serial, soa)):
        return Answer(answers=(soa,), is_lasting=False, plugin="transfer")
    return Answer(is_lasting=False, plugin="transfer", transfer=lambda: _named(offer.records))


def _named(records: Records) -> Iterator[Record]:
    """Yield the records with the owners in them."""
    for owner, record in records():
        yield msgspec.structs.replace(record, owner=owner)


def _decode_network(token: Token) -> IPv4Network | IPv6Network:
    try:
        return ip_network(token.text)
    except ValueError as exc:
        raise token.error("expected an IP address, a network in CIDR notation or *") from exc
