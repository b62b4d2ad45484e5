"""Serves the names of a cluster's Services, endpoints and pods (Kubernetes DNS specification 1.1.0).

Syntax:

    kubernetes [ZONE...] {
        manifests DIR
        kubeconfig FILE [CONTEXT]
        endpoint URL
        tls CERT KEY CACERT
        namespaces NAMESPACE...
        namespace_labels SELECTOR
        labels SELECTOR
        pods disabled|insecure|verified
        endpoint_pod_names
        noendpoints
        ignore empty_service
        ttl SECONDS
        fallthrough [ZONE...]
        startup_timeout DURATION
    }

Zones default to those of the server block. At least one is not a reverse zone; the first such is the one
that reverse zones (`in-addr.arpa`, `ip6.arpa`, or a network such as `10.96.0.0/16`) lead into. Everything
in the block may be left out.

Where the cluster is (at most one of the first three; without any, the API server of the pod around the
program, by its service account):

* `manifests`: a directory of manifests, followed as files change.
* `kubeconfig`: the API server of a kubeconfig file's current context, or of CONTEXT. The file
  `in-cluster` means the service account.
* `endpoint`: the URL of an API server.
* `tls`: with `endpoint`, the files of the client's certificate, its key and the server's authority.

What of it is served:

* `namespaces`: the objects of these namespaces only.
* `namespace_labels`: the namespaces whose Namespace object a label selector selects; not with
  `namespaces`.
* `labels`: the Services, EndpointSlices and pods that a label selector selects, such as `app=web,tier in
  (front, back),!legacy`. EndpointSlices have the labels of their Service.
* `pods`: `disabled` (default): a pod's name does not exist. `insecure`: every address has a name in each
  existing namespace. `verified`: only the address of a live pod of the namespace has; all pods are
  watched.
* `endpoint_pod_names`: endpoints without a hostname are called by their pod's name, if it is one label.
* `noendpoints`: EndpointSlices are not watched: headless Services and endpoints have no names.
* `ignore empty_service`: a Service with a cluster IP has no name while none of its endpoints is ready.
* `ttl`: seconds from 0 to 3600 that clients may keep an answer, 5 by default; also how long a negative
  one.
* `fallthrough`: the next plugin is asked for names that do not exist, in these zones or, without any, in
  all.
* `startup_timeout`: how long the program's start waits for the first snapshot (a duration, 5s by
  default). Then it answers, SERVFAIL in these zones, and is not ready before the snapshot is there. A reload
  waits longer, up to 60 s, and else leaves the old configuration in force.

```corefile
. {
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
}
```

```corefile
cluster.local 10.96.0.0/16 {
    kubernetes {
        manifests /etc/nodeplane/manifests
        namespaces default shop
        labels environment in (staging, qa),!legacy
        ignore empty_service
    }
}
```

```corefile
cluster.local {
    kubernetes {
        endpoint https://10.0.0.1:6443
        tls client.crt client.key ca.crt
        pods verified
        endpoint_pod_names
        startup_timeout 30s
    }
}
```

What is answered; SVC is `<service>.<namespace>.svc`, a Service that leads nowhere (headless without ready
endpoints, no cluster IP yet, ExternalName of an address) does not exist:

| name below the zone | answer |
|---|---|
| `SVC` with cluster IPs | A, AAAA: the cluster IPs; SRV: each port, named or not |
| `SVC`, headless | A, AAAA: each ready endpoint; SRV: each endpoint and port |
| `SVC`, ExternalName | CNAME, and what its target has, as far as the zones and the plugins behind know |
| `_PORT._PROTOCOL.SVC` | SRV, A, AAAA of that named port |
| `ENDPOINT.SVC` | A, AAAA, SRV of the ready endpoints of that hostname, or dashed address (`1-2-3-4`) |
| `ADDRESS.<namespace>.pod` | A or AAAA of the dashed address, as `pods` has it |
| `dns-version` | TXT "1.1.0" |
| the zone itself | SOA, its serial the time of the last change; NS |
| `ns.dns` | A, AAAA of this server, where it stands behind no Service |
| an address in a reverse zone | PTR: the Service of the cluster IP, else the endpoint in each Service |

SRV answers come with the addresses of their targets. NS names the Services that have one of this server's
addresses among their endpoints, else `ns.dns` with its own addresses (not those of loopback). A name that
exists has NODATA for other types, any other name is NXDOMAIN, both with the SOA; before the first
snapshot every name is SERVFAIL. Losing the cluster keeps the last state in force.

Metrics: `coredns_kubernetes_dns_programming_duration_seconds{service_kind="headless_with_selector"}`, the
time from when a pod of a headless Service changed, as the endpoint slice controller notes it, to when it is
answered; `coredns_kubernetes_rest_client_requests_total{code, method, host}` and
`coredns_kubernetes_rest_client_request_duration_seconds{verb, host}`, requests to the API server (a watch is
one), to the head of their responses; `coredns_kubernetes_rest_client_rate_limiter_duration_seconds{verb,
host}`, always 0. Its replies are counted as those of `plugin="kubernetes"`.

What differs from CoreDNS: `manifests` is ours; `multicluster` and the `apiserver_...` limits are not
served. A CNAME is given whatever its target has, and for every type. An ExternalName's target is asked of
this plugin and those behind it, not of other server blocks. `dns-version` exists for other types too;
`_port._protocol` needs its underscores, and there are no names below a pod's or an ExternalName's. Part
of an address in a reverse zone is NODATA, since there may be more below (RFC 8020). `fallthrough` waits
for the first snapshot. Addresses of pods that have two are served both; so are all addresses of an endpoint,
as in CoreDNS, though kube-proxy uses the first alone. `noendpoints` with `ignore
empty_service`, which would leave no Service, is an error.
"""

import time
from collections.abc import Mapping

from msgspec.structs import replace

from coredns_lite.fallthrough import Fallthrough
from coredns_lite.plugin import Client, Handler, Outcome, Surroundings, after
from coredns_lite.plugins.kubernetes.cluster import follow, open_cluster
from coredns_lite.plugins.kubernetes.configuration import Kubernetes, Origin, decode
from coredns_lite.plugins.kubernetes.external_name import resolve
from coredns_lite.plugins.kubernetes.index import Index
from coredns_lite.plugins.kubernetes.metrics import ProgrammingLatency
from coredns_lite.plugins.kubernetes.name_servers import own_addresses
from coredns_lite.plugins.kubernetes.reverse_zone import ReverseZone, is_reverse
from coredns_lite.plugins.kubernetes.zone import Lead, Zone
from coredns_lite.transfers import Offer, offer_zone
from coredns_lite.wire.names import encode_name
from coredns_lite.wire.query import Query
from coredns_lite.wire.reply import CONFIGURATION, Answer, Rcode
from coredns_lite.zones import ZoneTable
from nodeplane.datapath.local_addresses import KernelAddresses
from nodeplane.kube.source import Batch

__all__ = ["REPEATS", "Kubernetes", "Link", "Origin", "build", "decode", "make_zones", "served_zones"]

REPEATS = False

AnyZone = Zone | ReverseZone

# What the end of a chain says (`coredns_lite.chain`): there is no next plugin.
_NOBODY = Answer(Rcode.REFUSED, is_authoritative=False, about=CONFIGURATION)
_NOBODY_BEHIND = Answer(Rcode.SERVFAIL, is_authoritative=False)


def build(config: Kubernetes, surroundings: Surroundings, following: Handler) -> Handler:
    """Build the link that serves those of the plugin's zones that are this chain's."""
    scope = config.scope

    def make() -> Index:
        index = Index(scope)
        latency = ProgrammingLatency()
        source = open_cluster(config.origin, scope, latency)
        is_ready = surroundings.wait_for("kubernetes", within_s=config.startup_timeout_s)

        def taken(batch: Batch) -> None:
            latency.observe(batch, index, time.time())
            is_ready()

        async def main() -> None:
            await follow(source, index, scope, surroundings, taken)

        surroundings.run(main)
        return index

    index = surroundings.shared(("kubernetes", config.origin, scope), make)
    own = own_addresses(surroundings.server, KernelAddresses())
    zones = make_zones(config, index, own)
    for zone, served in zones.items():
        offer_zone(surroundings, zone, Offer(served.offered_soa, served.records))
    served_zones(surroundings).update(zones)
    return Link(zones, config, following)


def served_zones(surroundings: Surroundings) -> dict[str, AnyZone]:
    """Return the zones that this plugin serves in a chain, for plugins in front of it.

    Of this chain alone: the same zone at another address may be another cluster's.
    """
    where = "kubernetes zones", surroundings.server, surroundings.zone
    return surroundings.shared(where, dict[str, AnyZone])


def make_zones(config: Kubernetes, index: Index, own: tuple[bytes, ...] = ()) -> dict[str, AnyZone]:
    """Make the zones of a configuration over an index."""
    primary = Zone(encode_name(config.primary), index, config.shown, own)
    zones: dict[str, AnyZone] = {}
    for zone in config.zones:
        origin = encode_name(zone)
        if is_reverse(zone):
            zones[zone] = ReverseZone(origin, primary)
        else:
            zones[zone] = Zone(origin, index, config.shown, own)
    return zones


class Link:
    """Answers for some zones, and asks the plugins behind for everything else."""

    def __init__(self, zones: Mapping[str, AnyZone], config: Kubernetes, following: Handler) -> None:
        self._zones = ZoneTable(zones)
        self._fallthrough = Fallthrough(config.fall_zones)
        self._ttl_s = config.shown.ttl_s
        self._following = following

    def answer(self, query: Query, client: Client) -> Outcome:
        """Answer a question, at once unless an ExternalName leads to where others have to be asked."""
        found = self._find(query)
        if found is None:
            return self._following.answer(query, client)
        if isinstance(found, Lead):
            outcome = resolve(
                query, client, found, find=self._find, following=self._following, ttl_s=self._ttl_s
            )
            return after(outcome, _own)
        if found.rcode == Rcode.NXDOMAIN and self._fallthrough.applies(query.name):
            return after(self._following.answer(query, client), _fall)
        return _own(found)

    def _find(self, query: Query) -> Answer | Lead | None:
        zone = self._zones.find(query.name)
        return None if zone is None else zone.answer(query)


def _own(answer: Answer) -> Answer:
    return replace(answer, plugin="kubernetes")


def _fall(answer: Answer) -> Answer:
    """Say that nobody could be asked, as CoreDNS does where no plugin follows."""
    # It is said because a name is not here, too.
    return _NOBODY_BEHIND if answer == _NOBODY else replace(answer, about=None)
