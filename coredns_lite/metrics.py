"""The program's metrics: one registry, which outlives reloads, with CoreDNS's names.

A plugin makes its metrics at module level with `registry=REGISTRY`. What packet loops count is not counted
here but read from their own counters when somebody asks.
"""

from prometheus_client import Counter, Gauge

from nodeplane.runtime.metrics import create_registry
from nodeplane.runtime.version import build_labels

REGISTRY = create_registry()

PANICS = Counter("coredns_panics", "Queries that met an error in this program", registry=REGISTRY)
PLUGIN_ENABLED = Gauge(
    "coredns_plugin_enabled",
    "Whether a plugin takes part, by server and zone",
    ["server", "zone", "view", "name"],
    registry=REGISTRY,
)

_build = build_labels()
Gauge(
    "coredns_build_info",
    "The build, always 1; goversion is that of Python",
    ["version", "revision", "goversion"],
    registry=REGISTRY,
).labels(_build["version"], "", f"python{_build['python_version']}").set(1)
