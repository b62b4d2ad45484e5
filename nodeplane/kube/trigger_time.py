"""When what an EndpointSlice answers to has changed, as the endpoint slice controller notes on it.

From this time on the slice's readers are late: the network and DNS programming latency SLIs.
"""

from datetime import datetime

from nodeplane.kube.objects import EndpointSlice

TRIGGER_TIME_ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"


def trigger_time(piece: EndpointSlice) -> float | None:
    """Return when the pod or Service changed that led to a slice, in seconds since 1970; None if unsaid."""
    annotations = piece.metadata.annotations or {}
    return parse_time(annotations.get(TRIGGER_TIME_ANNOTATION, ""))


def parse_time(text: str) -> float | None:
    """Read a time of RFC 3339, in seconds since 1970; None for any other text."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time.timestamp() if time.tzinfo else None
