"""What forwarding counts, under CoreDNS's names; all of it on the asyncio loop."""

from prometheus_client import Counter, Histogram

from coredns_lite.metrics import REGISTRY

PROXY = "forward"
"""The label `proxy_name`: which plugin forwards."""

# CoreDNS's plugin.TimeBuckets: 0.25 ms, doubled up to 8 s.
_BUCKETS = [0.00025 * 2**power for power in range(16)]

ALL_DOWN = Counter(
    "coredns_forward_healthcheck_broken",
    "Queries for which every upstream was down",
    registry=REGISTRY,
)
REJECTED = Counter(
    "coredns_forward_max_concurrent_rejects",
    "Queries refused because as many as may be were under way",
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "coredns_proxy_request_duration_seconds",
    "How long upstreams took to answer",
    ["proxy_name", "to", "rcode"],
    buckets=_BUCKETS,
    registry=REGISTRY,
)
PROBE_FAILURES = Counter(
    "coredns_proxy_healthcheck_failures",
    "Health checks that an upstream failed",
    ["proxy_name", "to"],
    registry=REGISTRY,
)
CONNECTION_HITS = Counter(
    "coredns_proxy_conn_cache_hits",
    "Queries that went over a connection that was there",
    ["proxy_name", "to", "proto"],
    registry=REGISTRY,
)
CONNECTION_MISSES = Counter(
    "coredns_proxy_conn_cache_misses",
    "Queries that took a new connection",
    ["proxy_name", "to", "proto"],
    registry=REGISTRY,
)
