"""Counts queries and replies, and shows all metrics of the program over HTTP.

Syntax:

    prometheus [ADDRESS]

`/metrics` at ADDRESS (`localhost:9153` by default) has the metrics of the whole program; queries are counted
in those server blocks that have this plugin. A reload keeps every counter.

```corefile
. {
    prometheus :9153
}
```

Metrics, with CoreDNS's names and labels: `coredns_dns_requests_total{server, zone, view, proto, family,
type}`, `coredns_dns_responses_total{server, zone, view, rcode, plugin}`,
`coredns_dns_request_duration_seconds{server, zone, view}`, `coredns_dns_request_size_bytes` and
`coredns_dns_response_size_bytes{server, zone, view, proto}`, `coredns_dns_do_requests_total{server, zone,
view}`, `coredns_plugin_enabled{server, zone, view, name}`, `coredns_panics_total`,
`coredns_build_info{version, revision, goversion}` (`goversion` is Python's), and those of the other plugins.
"""

from functools import partial

import msgspec

from coredns_lite.corefile.parser import Directive
from coredns_lite.metrics import REGISTRY
from coredns_lite.options import decode_listen_address, refuse_block
from coredns_lite.plugin import Handler, Surroundings
from nodeplane.runtime.listen import ListenAddress
from nodeplane.runtime.metrics import show_metrics

REPEATS = False

DEFAULT_ADDRESS = ListenAddress("127.0.0.1", 9153)


class Prometheus(msgspec.Struct, frozen=True):
    """Where the page is."""

    address: ListenAddress = DEFAULT_ADDRESS


def decode(directive: Directive, _zones: tuple[str, ...]) -> Prometheus:
    """Decode `prometheus [ADDRESS]`."""
    refuse_block(directive)
    return Prometheus(decode_listen_address(directive, DEFAULT_ADDRESS))


def build(config: Prometheus, surroundings: Surroundings, following: Handler) -> Handler:
    """Take no part in answers: the packet loops count."""
    surroundings.serve_page(config.address, "/metrics", partial(show_metrics, REGISTRY))
    return following
