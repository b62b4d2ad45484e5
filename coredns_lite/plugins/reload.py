"""Adopts a changed Corefile without losing a query.

Syntax:

    reload [INTERVAL] [JITTER]

The Corefile and all that it imports are read every INTERVAL (30s by default, at least 2s) plus a random part
of JITTER (15s, or half of the interval if that is less), so that replicas don't change all at once. A changed
one is built beside the old one; when its plugins are ready, its sockets are opened beside the old ones, which
then answer what they have and close; connections over TCP and TLS go on with the new one. A Corefile that is
wrong, or that does not come up, leaves the old one in force: one line in the log says why. One whose plugins
are not ready within 60 s, as the cluster can't be had, is tried again the next time. SIGUSR1 reloads at once,
with this plugin or without.

Of several in a Corefile, the first one's interval counts.

```corefile
. {
    reload 10s 5s
    errors
}
```

Metrics: `coredns_reload_failed_total`; `coredns_reload_version_info{hash, value}`, the SHA-512 of what is in
force.

Differs from CoreDNS, whose old sockets lose what is queued in them, and whose pages for health and readiness
are away for a moment.
"""

import msgspec
from prometheus_client import Counter, Gauge

from coredns_lite.corefile.parser import Directive
from coredns_lite.metrics import REGISTRY
from coredns_lite.options import decode_duration, refuse_block
from coredns_lite.plugin import Handler, Surroundings

REPEATS = False

DEFAULT_INTERVAL_S = 30.0
DEFAULT_JITTER_S = 15.0
# CoreDNS's limits (plugin/reload/setup.go).
MIN_INTERVAL_S = 2.0
MIN_JITTER_S = 1.0

FAILED = Counter("coredns_reload_failed", "Corefiles that were not adopted", registry=REGISTRY)
VERSION = Gauge(
    "coredns_reload_version_info", "The digest of the Corefile in force", ["hash", "value"], registry=REGISTRY
)


class Reload(msgspec.Struct, frozen=True):
    """How often to look."""

    interval_s: float = DEFAULT_INTERVAL_S
    jitter_s: float = DEFAULT_JITTER_S


def decode(directive: Directive, _zones: tuple[str, ...]) -> Reload:
    """Decode `reload [INTERVAL] [JITTER]`."""
    refuse_block(directive)
    if len(directive.args) > 2:
        raise directive.args[2].error("expected nothing after interval and jitter")
    values = [decode_duration(token) for token in directive.args]
    for token, value, least in zip(directive.args, values, (MIN_INTERVAL_S, MIN_JITTER_S), strict=False):
        if value < least:
            raise token.error(f"expected at least {least:.0f}s")
    interval_s, jitter_s = (*values, *(DEFAULT_INTERVAL_S, DEFAULT_JITTER_S)[len(values) :])
    return Reload(interval_s, min(jitter_s, interval_s / 2))


def build(_config: Reload, _surroundings: Surroundings, following: Handler) -> Handler:
    """Take no part in answers: `coredns_lite.daemon` does what it says."""
    return following
