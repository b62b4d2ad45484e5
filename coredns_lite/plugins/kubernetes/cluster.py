"""Follows a cluster: opens its source, and takes what changes into an index."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from coredns_lite.plugin import Surroundings
from coredns_lite.plugins.kubernetes.configuration import Origin
from coredns_lite.plugins.kubernetes.facts import Scope, shrink_to
from coredns_lite.plugins.kubernetes.index import EVERYTHING, Index
from coredns_lite.plugins.kubernetes.metrics import ProgrammingLatency, observe_request
from coredns_lite.server.memory import settle
from nodeplane.kube.api_request import Selector
from nodeplane.kube.objects import EndpointSlice, Namespace, Object, Pod, Service
from nodeplane.kube.open_source import open_source
from nodeplane.kube.source import Batch, Source

# CoreDNS's too (plugin/kubernetes/controller.go): pods that have ended keep no address.
_LIVE = "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown"
_IN_CLUSTER = Path("in-cluster")

log = logging.getLogger(__name__)


def open_cluster(origin: Origin, scope: Scope, latency: ProgrammingLatency) -> Source:
    """Open the source of a cluster's objects, which delivers facts of those in the scope.

    Raises:
        ConfigError: it can't be opened as it was asked for.
    """
    shrink = latency.noting(shrink_to(scope))
    if origin.endpoint is None:
        kubeconfig = None if origin.manifests else origin.kubeconfig or _IN_CLUSTER
        return open_source(
            origin.manifests,
            kubeconfig,
            selectors=build_selectors(scope),
            context=origin.context,
            shrink=shrink,
            observe=observe_request,
        )
    # Late: an HTTP client costs 100 ms and 15 MB, which a user of manifests need not pay.
    from nodeplane.kube.apiserver import ApiServerSource
    from nodeplane.kube.connection import Connection
    from nodeplane.kube.kubeconfig import Cluster, Target, User

    certificate, key, authority = origin.tls or (None, None, None)
    target = Target(
        Cluster(server=origin.endpoint, certificate_auth=authority),
        User(client_cert=certificate, client_key=key),
        Path.cwd(),
    )
    return ApiServerSource(
        Connection(lambda: target, observe=observe_request), build_selectors(scope), shrink=shrink
    )


def build_selectors(scope: Scope) -> dict[type[Object], Selector]:
    """Say which objects an API server need not send."""
    label = scope.labels.text if scope.labels else ""
    selectors: dict[type[Object], Selector] = {
        Service: Selector(label=label),
        EndpointSlice: Selector(label=label),
        Pod: Selector(label=label, field=_LIVE),
    }
    if scope.namespace_labels:
        selectors[Namespace] = Selector(label=scope.namespace_labels.text)
    return selectors


async def follow(
    source: Source,
    index: Index,
    scope: Scope,
    surroundings: Surroundings,
    taken: Callable[[Batch], None],
) -> None:
    """Take a cluster's changes into its index, and let the servers answer from it as soon as any matters.

    `taken` is told of each batch when it is answered from.
    """
    is_settled = False
    async for batch in source.batches(scope.kinds):
        started = time.perf_counter()
        touched = index.apply(batch, int(time.time()))
        if touched:
            surroundings.changed(None if EVERYTHING in touched else touched)
            duration_ms = (time.perf_counter() - started) * 1000
            log.info("names changed objects=%d duration_ms=%.3f", len(batch), duration_ms)
        taken(batch)
        if not is_settled:
            is_settled = True
            del batch
            settle()
