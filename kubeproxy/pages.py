"""The pages of the two servers: health for load balancers and the kubelet, and all that a person may ask.

Health is JSON as upstream writes it; `statusz` and `flagz` are text that is for people only, there and here.
"""

import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from kubeproxy.config.model import KubeProxyConfiguration
from kubeproxy.health.proxy_health import FAMILY_NAMES, Health, ProxyHealth
from kubeproxy.metrics import Metrics
from nodeplane.runtime.http import Handler, Request, Response
from nodeplane.runtime.metrics import show_metrics
from nodeplane.runtime.version import NODEPLANE_VERSION, build_labels

_NO_SNIFF = (("X-Content-Type-Options", "nosniff"),)
_NEVER = "0001-01-01T00:00:00Z"  # Go's zero time
_WARNING = (
    "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees "
    "and is for debugging purposes only.\n"
)


class Moment(msgspec.Struct, frozen=True):
    """One moment on two clocks: the wall's, and the one that never jumps."""

    wall_s: float
    steady_s: float

    def at(self, steady_s: float | None) -> str:
        """Render a time of the steady clock as RFC 3339."""
        if steady_s is None:
            return _NEVER
        time_ = datetime.fromtimestamp(self.wall_s - self.steady_s + steady_s, UTC)
        return time_.isoformat().replace("+00:00", "Z")


def render_health(health: Health, now: Moment, *, asks_for_node: bool) -> Response:
    """Render `/healthz` (which asks whether the node may get traffic, too) or `/livez`."""
    is_healthy = health.is_live and (health.is_eligible or not asks_for_node)
    body = {
        # As upstream: the time of the last sync says little where nothing changes.
        "lastUpdated": now.at(now.steady_s if is_healthy else health.updated_s),
        "currentTime": now.at(now.steady_s),
        "healthy": is_healthy,
        **({"nodeEligible": health.is_eligible} if asks_for_node else {}),
        "status": {
            FAMILY_NAMES[family]: {"lastUpdated": now.at(part.updated_s), "healthy": part.is_healthy}
            for family, part in health.families.items()
        },
    }
    status = 200 if is_healthy else 503
    return Response(json.dumps(body).encode(), status, "application/json", _NO_SNIFF)


def build_health_pages(health: ProxyHealth, metrics: Metrics) -> dict[str, Handler]:
    """Return the pages of the health server; what it answers is counted."""

    def healthz(_: Request) -> Response:
        response = _show_health(health, asks_for_node=True)
        metrics.tally.healthz[response.status] += 1
        return response

    def livez(_: Request) -> Response:
        response = _show_health(health, asks_for_node=False)
        metrics.tally.livez[response.status] += 1
        return response

    return {"/healthz": healthz, "/livez": livez}


def build_metrics_pages(
    health: ProxyHealth,
    metrics: Metrics,
    config: KubeProxyConfiguration,
    flags: Mapping[str, str],
) -> dict[str, Handler]:
    """Return the pages of the metrics server; `config` is the one in force, `flags` what was typed."""
    started_s = time.time()
    pages: dict[str, Handler] = {
        "/metrics": lambda request: show_metrics(metrics.registry, request),
        "/healthz": lambda _: _show_health(health, asks_for_node=True),
        "/livez": lambda _: _show_health(health, asks_for_node=False),
        "/proxyMode": lambda _: Response(config.mode.encode(), headers=_NO_SNIFF),
        "/configz": lambda _: Response(render_configz(config), 200, "application/json"),
        "/flagz": lambda _: Response(render_flagz(flags).encode()),
    }
    paths = (*sorted(pages), "/statusz")
    pages["/statusz"] = lambda _: Response(render_statusz(started_s, time.time(), paths).encode())
    return pages


def render_configz(config: KubeProxyConfiguration) -> bytes:
    """Render the configuration in force, under upstream's name for it."""
    return msgspec.json.encode({"kubeproxy.config.k8s.io": config})


def render_statusz(started_s: float, now_s: float, paths: tuple[str, ...]) -> str:
    """Render what the process is and how long it has been."""
    seconds = int(now_s - started_s)
    minutes, hours = seconds // 60, seconds // 3600
    facts = {
        "Started": datetime.fromtimestamp(started_s, UTC).strftime("%a %b %e %H:%M:%S UTC %Y"),
        "Up": f"{hours} hr {minutes % 60:02} min {seconds % 60:02} sec",
        "Version": NODEPLANE_VERSION,
        "Python version": build_labels()["python_version"],
        "Process": str(os.getpid()),
        "Paths": " ".join(paths),
    }
    return (
        "\nkubeproxy statusz\n" + _WARNING + "\n" + "".join(f"{key}: {text}\n" for key, text in facts.items())
    )


def render_flagz(flags: Mapping[str, str]) -> str:
    """Render the options of the command line."""
    lines = (f"{name.removeprefix('--')}={value}\n" for name, value in sorted(flags.items()))
    return "\nkubeproxy flagz\n" + _WARNING + "\n" + "".join(lines)


def _show_health(health: ProxyHealth, *, asks_for_node: bool) -> Response:
    now = Moment(time.time(), time.monotonic())
    return render_health(health.check(now.steady_s), now, asks_for_node=asks_for_node)
