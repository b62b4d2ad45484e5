"""Why an endpoint of a service port gets no new connections here: in words, for `kubeproxy trace`.

The kernel has only the pool that came of it. What is said here comes from the source of objects, by the same
decision (`endpoints.select`) that the pool was made with.
"""

from collections.abc import Mapping

from kubeproxy.desired.endpoints import Backend, Backends, Place, select
from kubeproxy.rules.layout import PackedEndpoint


def explain_left_out(backends: Backends, place: Place) -> Mapping[PackedEndpoint, str]:
    """Return the reason for each endpoint that is in no pool at a place, or only in that of its own."""
    usable = select(backends, place)
    left = backends.keys() - usable.cluster
    is_any_ready = any(backend.is_ready for backend in backends.values())
    return {
        endpoint: _explain(backends[endpoint], is_any_ready=is_any_ready)
        + (", but for policy Local it is one of this node's" if endpoint in usable.local else "")
        for endpoint in sorted(left)
    }


def _explain(backend: Backend, *, is_any_ready: bool) -> str:
    if backend.is_ready:
        if backend.node_hints:
            return f"hints mean it for {_join('node', backend.node_hints)}"
        return f"hints mean it for {_join('zone', backend.zone_hints)}"
    if backend.is_terminating:
        return "terminates, and others are ready" if backend.is_serving and is_any_ready else "has terminated"
    return "not ready"


def _join(word: str, names: tuple[str, ...]) -> str:
    return f"{word}{'s' if len(names) > 1 else ''} {', '.join(names)}"
