"""The figures of BGP: each session, and bird itself."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

from cni.bgp.state import Session

_LABELS = ("peer", "family")


class BgpMetrics:
    """The figures; a session that is configured no more has none."""

    def __init__(self, registry: CollectorRegistry) -> None:
        prefix = "nodeplane_bgp"
        self._up = Gauge(
            f"{prefix}_session_up", "Whether a session is established", _LABELS, registry=registry
        )
        self._prefixes = Gauge(
            f"{prefix}_prefixes", "Prefixes of a session", (*_LABELS, "direction"), registry=registry
        )
        self._bfd = Gauge(
            f"{prefix}_bfd_up", "Whether a session's BFD session is up", _LABELS, registry=registry
        )
        self._configurations = Counter(
            f"{prefix}_configurations", "Configurations given to bird", ["result"], registry=registry
        )
        self._ends = Counter(f"{prefix}_bird_ends", "How often bird has ended", registry=registry)
        for result in ("accepted", "refused"):
            self._configurations.labels(result)

    def take_sessions(self, sessions: Iterable[Session]) -> None:
        """Show these sessions and no others."""
        for gauge in (self._up, self._prefixes, self._bfd):
            gauge.clear()
        for session in sessions:
            labels = (session.name, f"ipv{session.address.version}")
            self._up.labels(*labels).set(session.is_up)
            self._prefixes.labels(*labels, "imported").set(session.imported)
            self._prefixes.labels(*labels, "exported").set(session.exported)
            if session.bfd:
                self._bfd.labels(*labels).set(session.bfd == "Up")

    def count_configuration(self, *, is_accepted: bool) -> None:
        """Count a configuration that bird was given."""
        self._configurations.labels("accepted" if is_accepted else "refused").inc()

    def count_end(self) -> None:
        """Count an end of bird."""
        self._ends.inc()
