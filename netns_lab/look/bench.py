"""How many requests a second a Service answers, and how long each takes, from a place of the lab."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from netns_lab.scenarios.request import Outcome
from netns_lab.scenarios.scenario import ProbeStep
from netns_lab.scenarios.stage import Stage
from netns_lab.state import StateDirectory
from netns_lab.topology import Topology
from nodeplane.errors import ConfigError

_LIMIT_S = 120.0


def measure(state: StateDirectory, topology: Topology, place: str, target: str, count: int) -> dict[str, Any]:
    """Send requests one after the other and return what they took."""
    outcomes = Stage(state, topology).probe(ProbeStep(target, place, count), _LIMIT_S)
    return {"from": place, "to": target, **summarize(outcomes)}


def first_service(objects: Iterable[dict[str, Any]]) -> str:
    """Return the first Service with a TCP port as a target.

    Raises:
        ConfigError: there is none.
    """
    for value in objects:
        spec = value.get("spec") or {}
        ports = [port for port in spec.get("ports") or () if port.get("protocol", "TCP") == "TCP"]
        if value["kind"] == "Service" and ports and spec.get("clusterIP") != "None":
            metadata = value["metadata"]
            name = f"{metadata['name']}.{metadata.get('namespace', 'default')}"
            return f"tcp://{name}:{ports[0]['port']}"
    raise ConfigError("URL", "", "expected where requests go, the lab has no Service of its own")


def summarize(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the rate of requests, how long the answered ones took, and who answered."""
    answered = [outcome for outcome in outcomes if not outcome.error]
    failed = [outcome for outcome in outcomes if outcome.error]
    took_s = sorted(outcome.took_s for outcome in answered)
    ends = [outcome.begun_s + outcome.took_s for outcome in outcomes]
    whole_s = max(ends) - min(outcome.begun_s for outcome in outcomes) if outcomes else 0.0
    counts = Counter(outcome.by or "another server" for outcome in answered)
    return {
        "requests": len(outcomes),
        "failed": len(failed),
        "first_error": failed[0].error if failed else "",
        "per_second": round(len(outcomes) / whole_s, 1) if whole_s else 0.0,
        "milliseconds": [
            {"share": f"{share}%", "at_most": round(_share(took_s, share) * 1000, 3)}
            for share in (50, 90, 99, 100)
            if took_s
        ],
        "answered_by": [{"pod": name, "requests": number} for name, number in sorted(counts.items())],
    }


def _share(ordered: Sequence[float], percent: int) -> float:
    """Return what so many percent of the values are at most (nearest rank)."""
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(rank, 1) - 1]
