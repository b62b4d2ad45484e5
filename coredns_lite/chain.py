"""The chains of a listener: for each of its zones, the plugins that answer there."""

from collections.abc import Callable

import msgspec

from coredns_lite.config import Listener, Site
from coredns_lite.plugin import Client, Handler, Outcome, Surroundings
from coredns_lite.plugins import PLUGINS
from coredns_lite.wire.query import Query
from coredns_lite.wire.reply import CONFIGURATION, MAX_UDP_REPLY_BYTES, Answer, Rcode
from coredns_lite.zones import ZoneTable

REFUSED = Answer(Rcode.REFUSED, is_authoritative=False, about=CONFIGURATION)


class _Refusal:
    """What stands behind the last plugin."""

    def answer(self, _query: Query, _client: Client) -> Outcome:
        return REFUSED


class Chain(msgspec.Struct, frozen=True):
    """What answers the names of a zone, and how its replies are sent.

    `largest_udp_bytes` is the plugin `bufsize`'s, `nsid` the text that the plugin of that name gives to those
    who ask; `answers_chaos`: questions of class CH come to the chain, else they are refused, and so
    for `answers_transfers`.
    """

    handler: Handler
    zone: str = "."
    largest_udp_bytes: int = MAX_UDP_REPLY_BYTES
    nsid: bytes | None = None
    answers_chaos: bool = False
    is_counted: bool = False
    requires_cookie: bool = False
    answers_transfers: bool = False


Surround = Callable[[Listener, Site], Surroundings]
"""Makes what the plugins of one site are built into."""


def build_chains(listener: Listener, surround: Surround) -> ZoneTable[Chain]:
    """Build the chain of every zone of a listener."""
    return ZoneTable({site.zone: build_chain(site, surround(listener, site)) for site in listener.sites})


def build_chain(site: Site, surroundings: Surroundings) -> Chain:
    """Build the chain of one zone: the plugins that it has, in the order of all plugins."""
    handler: Handler = _Refusal()
    for name in reversed(tuple(PLUGINS)):
        for config in reversed(site.plugins.get(name, ())):
            handler = PLUGINS[name].build(config, surroundings, handler)
    return Chain(
        handler,
        site.zone,
        largest_udp_bytes=next(iter(site.plugins.get("bufsize", ())), MAX_UDP_REPLY_BYTES),
        nsid=next(iter(site.plugins.get("nsid", ())), None),
        answers_chaos="chaos" in site.plugins,
        answers_transfers="transfer" in site.plugins,
        is_counted="prometheus" in site.plugins,
        requires_cookie=any(config.is_required for config in site.plugins.get("cookies", ())),
    )
