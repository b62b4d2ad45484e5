"""Events: what a program tells people about an object through the API server (`kubectl describe`)."""

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec


class EventAbout(msgspec.Struct, frozen=True):
    """One thing to tell; a Node has no namespace."""

    kind: Literal["Service", "Node"]
    namespace: str
    name: str
    type: Literal["Normal", "Warning"]
    reason: str
    message: str = ""


def build_event(event: EventAbout, component: str, host: str, now_s: float) -> dict[str, Any]:
    """Return an event as the API server takes it (core/v1); those of Nodes are in `default`."""
    namespace = event.namespace or "default"
    about = {"apiVersion": "v1", "kind": event.kind, "name": event.name}
    if event.namespace:
        about["namespace"] = event.namespace
    else:
        # What kubectl looks for: kubelet and kube-proxy write a Node's name as its uid.
        about["uid"] = event.name
    when = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    facts = {
        "type": event.type,
        "reason": event.reason,
        "message": event.message,
        "count": 1,
        "firstTimestamp": when,
        "lastTimestamp": when,
        "reportingComponent": component,
        "reportingInstance": host,
    }
    return {
        "metadata": {"name": f"{event.name}.{int(now_s * 1e9):x}", "namespace": namespace},
        "involvedObject": about,
        "source": {"component": component, "host": host},
        "apiVersion": "v1",
        "kind": "Event",
        **facts,
    }
