"""The lines that tell of syncs: what was written, and once for each reason, what the kernel refused."""

import logging

from cni.routing.kernel import StepReport

log = logging.getLogger(__name__)


class SyncLog:
    """What has been told already."""

    def __init__(self) -> None:
        self._refused: frozenset[str] = frozenset()

    def take(self, report: StepReport, wanted: int, *, full: bool, duration_ms: float) -> None:
        """Tell of a sync of which `wanted` routes were the aim."""
        routes, entries = report.routes, report.entries
        refused = routes.refused | entries.refused | report.refused
        for reason in sorted(refused - self._refused):
            log.warning("route refused, the others are in force error=%r", reason)
        self._refused = refused
        log.log(
            logging.INFO if routes.written or routes.deleted else logging.DEBUG,
            "routes synced full=%s wanted=%d written=%d deleted=%d refused=%d duration_ms=%.2f",
            full, wanted, routes.written, routes.deleted, len(refused), duration_ms,
        )  # fmt: skip
        if entries.written or entries.deleted or report.links or report.has_guarded:
            log.info(
                "tunnels synced links=%s written=%d deleted=%d guarded=%s",
                ",".join(report.links) or "none", entries.written, entries.deleted, report.has_guarded,
            )  # fmt: skip
