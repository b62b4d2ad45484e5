"""Asks other servers (upstreams) and passes on what they say, over UDP, TCP and TLS.

Syntax:

    forward FROM TO... {
        except ZONE...
        force_tcp
        prefer_udp
        expire DURATION
        max_fails COUNT
        max_concurrent COUNT
        policy random|round_robin|sequential
        health_check DURATION [no_rec] [domain NAME]
        tls [CERT KEY] [CA]
        tls_servername NAME
        next RCODE...
        failover RCODE...
        failfast_all_unhealthy_upstreams
    }

* `FROM` is the zone that is forwarded; a network (`10.0.0.0/8`) means its reverse zones.
* `TO` is up to 15 upstreams: addresses, each maybe with a port (`10.0.0.9:1053`, `[fd00::9]:53`) and a
  transport (`dns://`, or `tls://` with port 853), or files in the form of `/etc/resolv.conf`, whose name
  servers are taken. A file is read when the program starts and when the Corefile is loaded again.
  `tls://9.9.9.9%dns.quad9.net` sets the name that this one upstream's certificate must have.
* `except` leaves zones out: the next plugin answers for them.
* `force_tcp` asks over TCP even if the client came over UDP. Without it the upstream is asked as the client
  asked.
* `prefer_udp` asks over UDP even if the client came over TCP, and over TCP only if the reply is truncated.
* `expire` closes connections (TCP, TLS) that were idle for so long; 10s by default.
* `max_fails` is how many health checks in a row an upstream must fail to be down; 2 by default, 0 means that
  it is never down nor checked.
* `max_concurrent` refuses (REFUSED) what would be more than so many queries under way; no limit by default.
  Each of them takes a socket: the program lifts its soft limit of open files to the hard one.
* `policy` is the order in which upstreams are tried: at random (the default), in turns, or as written.
* `health_check` is how often an upstream that failed a query is checked until it answers again; 0.5s by
  default. The check asks for the NS records of the root, or of `domain`; any answer will do. `no_rec` leaves
  the flag RD out of it.
* `tls` takes files in PEM: our certificate and key for upstreams that ask for one, and who signed theirs (the
  system's authorities by default). `tls_servername` is the name that their certificates must have; by default
  it is their address.
* `next` asks the next line of `forward` if the answer has one of these codes; without such a line it does
  nothing.
* `failover` asks the next upstream then.
* `failfast_all_unhealthy_upstreams` answers SERVFAIL at once while all upstreams are down; by default one of
  them, at random, is asked all the same.

A server block may have several of these lines; the first whose zone holds the name is used.

An upstream has 2 s to answer; then, or if it can't be reached or answers nonsense, the next one is asked, and
after the last the first again. After 5 s in all, or once all of them are down, the client gets SERVFAIL. Each
UDP query has a socket of its own, so a random port, and a random id; only what comes from the upstream's
address with that id and the same question is taken for the answer, anything else is ignored and the right one
waited for.

A truncated answer is passed on with TC set; the client then asks over TCP, and so do we. EDNS is passed on:
DO and the options, other than those that are between neighbours only (NSID, COOKIE, keepalive, padding);
upstreams are asked for at most 1,232 bytes over UDP.

Example: what a cluster's own names are not, the node's servers are asked for.

```corefile
. {
    forward . /etc/resolv.conf {
        max_concurrent 1000
    }
}
```

A company's zone goes to its own servers, all else to one that is asked over TLS:

```corefile
. {
    forward corp.example 10.0.0.9 10.0.0.10:1053 {
        policy sequential
        except public.corp.example
    }
    forward . tls://9.9.9.9 {
        tls_servername dns.quad9.net
        health_check 5s domain example.org
    }
}
```

Metrics:

* `coredns_proxy_request_duration_seconds{proxy_name, to, rcode}`: replies, and how long they took
* `coredns_proxy_healthcheck_failures_total{proxy_name, to}`
* `coredns_proxy_conn_cache_hits_total{proxy_name, to, proto}` and `coredns_proxy_conn_cache_misses_total`: of
  TCP and TLS; a UDP socket is never used twice
* `coredns_forward_healthcheck_broken_total`: queries for which all upstreams were down
* `coredns_forward_max_concurrent_rejects_total`

Differs from CoreDNS: a reply to another question is waited out rather than answered FORMERR; all zones of a
network as `FROM` count; `https://`, host names as `TO`, `max_idle_conns` and `max_connect_attempts` are not
known. Query ids and ports are random for each query; CoreDNS uses a UDP socket several times.
"""

import asyncio
import ssl

import msgspec

from coredns_lite.plugin import Client, Handler, Outcome, Surroundings
from coredns_lite.plugins.forward.configuration import Forward, HealthCheck, Tls, decode
from coredns_lite.plugins.forward.exchange import allow_sockets
from coredns_lite.plugins.forward.forwarder import POLICIES, Forwarder
from coredns_lite.plugins.forward.targets import read_targets
from coredns_lite.plugins.forward.upstream import Probe, Timing, Upstream
from coredns_lite.wire.names import lower_name
from coredns_lite.wire.query import Flag, Query
from coredns_lite.wire.record import CLASS_IN, RecordType
from coredns_lite.wire.reply import Answer
from coredns_lite.zones import zone_set
from nodeplane.errors import ConfigError

__all__ = ["REPEATS", "Forward", "HealthCheck", "Link", "Tls", "build", "decode", "make_forwarder"]

REPEATS = True


def build(config: Forward, surroundings: Surroundings, following: Handler) -> Handler:
    """Build the link; all chains of a server block share the upstreams of a line."""

    def make() -> tuple[Forward, Forwarder]:
        allow_sockets()
        forwarder = make_forwarder(config)

        async def close_at_the_end() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                for upstream in forwarder.upstreams:
                    upstream.close()

        surroundings.run(close_at_the_end)
        # With the configuration, so that no other object gets its identity.
        return config, forwarder

    _, forwarder = surroundings.shared(("forward", id(config)), make)
    return Link(config, forwarder, following)


def make_forwarder(config: Forward, timing: Timing | None = None) -> Forwarder:
    """Make what asks the upstreams of a line.

    Raises:
        ConfigError: a file that it names can't be used.
    """
    timing = timing or Timing()
    targets = read_targets(config.targets)
    # The system's authorities alone take megabytes.
    context = _make_context(config.tls) if config.tls or any(target.is_tls for target in targets) else None
    check = config.health_check
    question = check.domain + RecordType.NS.to_bytes(2) + CLASS_IN.to_bytes(2)
    flags = Flag.RD if check.is_recursive else 0
    query = Query(0, flags, question, lower_name(check.domain), int(RecordType.NS), CLASS_IN)
    upstreams = []
    for target in targets:
        named = msgspec.structs.replace(target, server_name=target.server_name or config.tls_servername)
        upstreams.append(Upstream(named, context, Probe(query, check.interval_s), config.expire_s, timing))
    return Forwarder(
        upstreams,
        POLICIES[config.policy](),
        max_fails=config.max_fails,
        max_concurrent=config.max_concurrent,
        force_tcp=config.force_tcp,
        prefer_udp=config.prefer_udp,
        failfast=config.failfast,
        failover=config.failover,
        timing=timing,
    )


class Link:
    """Forwards the names of its zones."""

    def __init__(self, config: Forward, forwarder: Forwarder, following: Handler) -> None:
        self._zones = zone_set(config.zones)
        self._excepted = zone_set(config.excepted)
        self._next = config.next if isinstance(following, Link) else frozenset()
        self._forwarder = forwarder
        self._following = following

    def answer(self, query: Query, client: Client) -> Outcome:
        """Answer later, if the name is to be forwarded."""
        is_ours = self._zones.find_zone(query.name) is not None
        if not is_ours or self._excepted.find_zone(query.name) is not None:
            return self._following.answer(query, client)
        return self._ask(query, client)

    async def _ask(self, query: Query, client: Client) -> Answer:
        answer = await self._forwarder.ask(query, client)
        if answer.rcode in self._next and not answer.error:
            outcome = self._following.answer(query, client)
            return outcome if isinstance(outcome, Answer) else await outcome
        return answer


def _make_context(tls: Tls | None) -> ssl.SSLContext:
    if tls is None:
        return ssl.create_default_context()
    file = ""
    try:
        if tls.authority:
            file = str(tls.authority)
        context = ssl.create_default_context(cafile=tls.authority)
        if tls.certificate:
            file = str(tls.certificate)
            context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ValueError) as exc:
        raise ConfigError(tls.place, file, f"expected a readable file in PEM: {exc}") from exc
    return context
