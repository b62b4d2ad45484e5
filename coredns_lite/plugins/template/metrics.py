"""What templates count, under CoreDNS's names."""

from prometheus_client import Counter

from coredns_lite.metrics import REGISTRY
from coredns_lite.plugins.template.expression import TemplateError

_NO_VIEW = ""
_LABELS = ["server", "zone", "view", "class", "type"]
_FAILURE_LABELS = [*_LABELS, "section", "template"]

MATCHES = Counter("coredns_template_matches", "Answers that templates made", _LABELS, registry=REGISTRY)
TEMPLATE_FAILURES = Counter(
    "coredns_template_template_failures",
    "Templates that had no meaning for a question",
    _FAILURE_LABELS,
    registry=REGISTRY,
)
RECORD_FAILURES = Counter(
    "coredns_template_rr_failures", "Templates that made no record", _FAILURE_LABELS, registry=REGISTRY
)


class Counters:
    """Counts for one template."""

    def __init__(self, server: str, rclass: str, rtype: str) -> None:
        self._server = server
        self._of = rclass, rtype

    def count_match(self, zone: str) -> None:
        """Count an answer."""
        MATCHES.labels(self._server, zone, _NO_VIEW, *self._of).inc()

    def count_failure(self, exc: Exception, zone: str, section: str, template: str) -> None:
        """Count what could not be made."""
        failures = TEMPLATE_FAILURES if isinstance(exc, TemplateError) else RECORD_FAILURES
        failures.labels(self._server, zone, _NO_VIEW, *self._of, section, template).inc()
