"""Keeps what upstreams said for as long as its TTL allows, so that they are asked less.

Syntax:

    cache [TTL] [ZONE...] {
        success CAPACITY [TTL] [MINTTL]
        denial CAPACITY [TTL] [MINTTL]
        prefetch AMOUNT [DURATION] [PERCENTAGE%]
        serve_stale [DURATION] [immediate|verify]
        servfail DURATION
        disable success|denial [ZONE...]
        keepttl
    }

* `TTL` is the most that anything is kept, in seconds; by default 3600 for answers and 1800 for denials. ZONEs
  are those whose names are kept, by default all that upstreams are asked for (after `rewrite`).
* `success` and `denial` set how many answers and how many denials (NXDOMAIN, no records of the type) are
  kept, 9984 each by default and fewer if they take more than 4 KiB of memory on average, the most they are
  kept, and the least, 5 seconds by default.
* `prefetch` asks again for an answer before it expires, once it had `AMOUNT` hits without a gap of `DURATION`
  (1m) between them: when `PERCENTAGE` (10%) of its TTL are left, or one second.
* `serve_stale` answers with what has expired, with a TTL of 0, for up to `DURATION` (1h), **while the
  upstream fails**: it can't be reached, or says neither NOERROR nor NXDOMAIN. `verify` always asks it first
  and waits until it has failed (5 s). `immediate`, the default, waits 1.8 s at most and asks on behind the
  answer, and not at all for 5 s after a failure (RFC 8767 section 5).
* `servfail` is how long an upstream's SERVFAIL is kept: 5s by default, 5m at most, 0 for not at all.
* `disable` keeps no answers, or no denials, of these zones, or of all.
* `keepttl` always shows the whole TTL rather than what is left of it.

An answer is kept as long as its record with the shortest TTL, and all its records show what is left of that;
a denial as long as its SOA record says (RFC 2308). The client's flags RD, CD and DO keep answers apart. When
as many are kept as may be, the one that has been there longest goes, unless it was asked for meanwhile.
Clients that ask the same at the same time wait for one question to the upstream.

**Never kept** are the cluster's own names and those of files: they are true until they change, and answered
from memory as it is. The cache is asked behind them, so `cache 30` delays no change of a Service, also where
an upstream was asked for its name before it came (`fallthrough`). What an ExternalName leads to is kept like
any other name of an upstream. Nor are truncated answers kept, denials without an SOA record, answers for one
network (EDNS client subnet), and questions of type HINFO.

Example: the default of clusters.

```corefile
. {
    cache 30
    forward . 10.0.0.9
}
```

Names that are asked for all the time never expire, and an hour without upstream is bridged:

```corefile
. {
    cache {
        success 5000 600
        denial 2500 30 1
        prefetch 10 1m 20%
        serve_stale 1h verify
        servfail 1s
        disable denial corp.example
    }
    forward . 10.0.0.9 10.0.0.10
}
```

Metrics, all with the labels `server`, `zones`, `view` (empty), those marked * also with `type` (`success` or
`denial`): `coredns_cache_entries`*, `coredns_cache_hits_total`*, `coredns_cache_evictions_total`*,
`coredns_cache_requests_total`, `coredns_cache_misses_total`, `coredns_cache_prefetch_total`,
`coredns_cache_drops_total` (always 0: forward ignores answers to other questions),
`coredns_cache_served_stale_total`. Queries for what is never kept are not counted.

Differs from CoreDNS: it stands behind `rewrite`, `hosts`, `kubernetes` and `file`, directly before `loop` and
`forward`, while CoreDNS's stands before all of them, where an upstream's NXDOMAIN for a name that these
plugins passed on hides what they learn of it until it expires; the cluster's names are not kept; stale
answers are served only if the upstream fails, while CoreDNS's `immediate` serves them always; the flag AA is
the upstream's, CoreDNS sets it on all that it has kept; the oldest goes rather than one at random.
"""

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from coredns_lite.corefile.lexer import Token
from coredns_lite.corefile.parser import Directive
from coredns_lite.options import decode_duration, decode_number, one_value, refuse_args
from coredns_lite.plugin import Handler, Surroundings
from coredns_lite.plugins.cache.entry import Limits
from coredns_lite.plugins.cache.link import CLIENT_RESPONSE_S, Link, Prefetch, Stale
from coredns_lite.plugins.cache.metrics import COLLECTOR, Counts
from coredns_lite.plugins.cache.store import Store
from coredns_lite.zones import decode_zones, zone_set

REPEATS = False

MAX_CAPACITY = 1_000_000
MAX_TTL_S = 0x7FFFFFFF
MAX_SERVFAIL_S = 300

_NUMBER = re.compile(r"[0-9]{1,9}")
_PERCENTAGE = re.compile(r"([0-9]{1,3})%")
_SUCCESS = Limits()
_DENIAL = Limits(max_ttl_s=1800)


class Cache(msgspec.Struct, frozen=True):
    """The plugin's lines, decoded."""

    zones: tuple[str, ...] = ()
    """Whose names are kept; none: all."""
    success: Limits = _SUCCESS
    denial: Limits = _DENIAL
    prefetch: Prefetch | None = None
    serve_stale: Stale | None = None
    servfail_s: int = 5
    disabled: tuple[tuple[str, tuple[str, ...]], ...] = ()
    keeps_ttl: bool = False


def decode(directive: Directive, _zones: tuple[str, ...]) -> Cache:
    """Decode `cache [TTL] [ZONE...] { option... }`."""
    args = list(directive.args)
    cache = Cache()
    if args and _NUMBER.fullmatch(args[0].text):
        ttl_s = decode_number(args.pop(0), "seconds", 1, MAX_TTL_S)
        success = Limits(max_ttl_s=ttl_s, min_ttl_s=min(_SUCCESS.min_ttl_s, ttl_s))
        cache = msgspec.structs.replace(cache, success=success, denial=success)
    if args:
        own = tuple(zone for token in args for zone in decode_zones(token))
        cache = msgspec.structs.replace(cache, zones=own)
    seen = set()
    for option in directive.block or ():
        decode_option = _OPTIONS.get(option.name.text)
        if decode_option is None:
            raise option.name.error(f"expected an option of cache: {', '.join(_OPTIONS)}")
        what = (
            option.name.text,
            option.args[0].text if option.name.text == "disable" and option.args else "",
        )
        if what in seen:
            raise option.name.error("expected each option once")
        seen.add(what)
        cache = msgspec.structs.replace(cache, **decode_option(option, cache))
    return cache


def build(config: Cache, surroundings: Surroundings, following: Handler) -> Handler:
    """Build the link; all chains of a server block keep their answers together."""
    counts = COLLECTOR.counts(surroundings.server, surroundings.zone)

    def make() -> tuple[Cache, Store]:
        # With the configuration, so that no other object gets its identity.
        return config, make_store(config, counts, time.monotonic)

    _, store = surroundings.shared(("cache", id(config)), make)
    return make_link(config, store, counts, following, time.monotonic)


def make_store(config: Cache, counts: Counts, clock: Callable[[], float]) -> Store:
    """Make what keeps the answers."""
    limits = {"success": config.success, "denial": config.denial}
    disabled = {side: zone_set(zones) for side, zones in config.disabled}
    return Store(limits, config.servfail_s, counts, clock, disabled)


def make_link(
    config: Cache,
    store: Store,
    counts: Counts,
    following: Handler,
    clock: Callable[[], float],
    *,
    client_response_s: float = CLIENT_RESPONSE_S,
) -> Link:
    """Make the link that asks a store first."""
    return Link(
        # Not those of the server block: `rewrite` and ExternalNames lead out of them.
        zone_set(config.zones or (".",)),
        store,
        counts,
        following,
        clock,
        prefetch=config.prefetch,
        stale=config.serve_stale,
        keeps_ttl=config.keeps_ttl,
        client_response_s=client_response_s,
    )


def _decode_limits(option: Directive, limits: Limits) -> Limits:
    if not 1 <= len(option.args) <= 3:
        raise option.name.error("expected CAPACITY [TTL] [MINTTL] after it")
    capacity = decode_number(option.args[0], "a capacity", 1, MAX_CAPACITY)
    ttls_s = [decode_number(token, "seconds", 0, MAX_TTL_S) for token in option.args[1:]]
    max_ttl_s = ttls_s[0] if ttls_s else limits.max_ttl_s
    if len(ttls_s) < 2:
        return Limits(capacity, max_ttl_s, min(limits.min_ttl_s, max_ttl_s))
    if ttls_s[1] > max_ttl_s:
        raise option.args[2].error(f"expected no more than the TTL of {max_ttl_s}")
    return Limits(capacity, max_ttl_s, ttls_s[1])


def _decode_prefetch(option: Directive) -> dict[str, Any]:
    if not 1 <= len(option.args) <= 3:
        raise option.name.error("expected AMOUNT [DURATION] [PERCENTAGE%] after it")
    amount = decode_number(option.args[0], "an amount", 0, MAX_CAPACITY)
    rest = list(option.args[1:])
    default = Prefetch(1)
    percentage = default.percentage
    if rest and (found := _PERCENTAGE.fullmatch(rest[-1].text)):
        percentage = int(found[1])
        if not 10 <= percentage <= 90:
            raise rest[-1].error("expected a percentage from 10% to 90%")
        rest.pop()
    if len(rest) > 1:
        raise rest[-1].error("expected a percentage such as 20%")
    gap_s = _decode_positive(rest[0]) if rest else default.longest_gap_s
    return {"prefetch": Prefetch(amount, gap_s, percentage) if amount else None}


def _decode_stale(option: Directive) -> dict[str, Any]:
    args = list(option.args)
    if len(args) > 2:
        raise args[2].error("expected [DURATION] [immediate|verify] and no more")
    stale = Stale()
    if args and args[-1].text in ("immediate", "verify"):
        stale = Stale(verifies=args.pop().text == "verify")
    if len(args) > 1:
        raise args[1].error("expected immediate or verify")
    if args:
        stale = msgspec.structs.replace(stale, longest_s=_decode_positive(args[0]))
    return {"serve_stale": stale}


def _decode_servfail(option: Directive) -> dict[str, Any]:
    token = one_value(option)
    duration_s = decode_duration(token)
    if duration_s > MAX_SERVFAIL_S:
        raise token.error("expected at most 5m")
    return {"servfail_s": int(duration_s)}


def _decode_disable(option: Directive, cache: Cache) -> dict[str, Any]:
    if not option.args:
        raise option.name.error("expected success or denial after it")
    side, *zones = option.args
    if side.text not in ("success", "denial"):
        raise side.error("expected success or denial")
    found = tuple(zone for token in zones for zone in decode_zones(token)) or (".",)
    return {"disabled": (*cache.disabled, (side.text, found))}


def _decode_keepttl(option: Directive) -> dict[str, Any]:
    refuse_args(option)
    return {"keeps_ttl": True}


def _decode_positive(token: Token) -> float:
    duration_s = decode_duration(token)
    if not duration_s:
        raise token.error("expected a duration above 0")
    return duration_s


_OPTIONS: Mapping[str, Callable[[Directive, Cache], dict[str, Any]]] = {
    "denial": lambda option, cache: {"denial": _decode_limits(option, cache.denial)},
    "disable": _decode_disable,
    "keepttl": lambda option, _: _decode_keepttl(option),
    "prefetch": lambda option, _: _decode_prefetch(option),
    "serve_stale": lambda option, _: _decode_stale(option),
    "servfail": lambda option, _: _decode_servfail(option),
    "success": lambda option, cache: {"success": _decode_limits(option, cache.success)},
}
