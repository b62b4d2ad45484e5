"""What happens while a kind is followed, told in one place: a log line each, and where a counter would go.

client-go counts the same: lists, items in them, watches, and how they ended.
"""

import logging

from nodeplane.errors import ConfigError, NodeplaneError, ProtocolError
from nodeplane.kube.api_request import required_rule
from nodeplane.kube.intake import WatchFailedError
from nodeplane.kube.objects import Object
from nodeplane.kube.session import RefusedError, SilenceError

FORBIDDEN = 403

log = logging.getLogger(__name__)


class Journal:
    """Tells of one kind."""

    def __init__(self, kind: type[Object]) -> None:
        self._kind = kind.__name__
        self._rule = required_rule(kind)
        self._has_listed = False
        self._done_without: str | None = None

    @property
    def has_listed(self) -> bool:
        """Whether a list has come to its end, ever."""
        return self._has_listed

    def listed(self, objects: int, version: str) -> None:
        """Tell that a list has come to its end."""
        self._has_listed = True
        log.info("listed kind=%s objects=%d resource_version=%s", self._kind, objects, version)

    def watching(self, version: str, watch_s: int) -> None:
        """Tell that a watch is asked for; a streaming list, if it begins at no version."""
        log.debug("watching kind=%s resource_version=%s watch_s=%d", self._kind, version, watch_s)

    def not_streaming(self, exc: NodeplaneError) -> None:
        """Tell that the server offers no streaming lists."""
        log.info("streaming list not offered, listing in pages error=%r", str(exc))

    def expired(self) -> None:
        """Tell that a list can't be continued."""
        log.info("list expired, beginning again kind=%s", self._kind)

    def done_without(self, exc: NodeplaneError, pause_s: float) -> None:
        """Tell, once for each reason, that the server does not know the kind, or does not let us read it."""
        reason = name_reason(exc)
        is_told, self._done_without = self._done_without == reason, reason
        if is_forbidden(exc):
            log.log(
                logging.DEBUG if is_told else logging.WARNING,
                "forbidden, taken as none kind=%s missing_rule=%r error=%r looked_for_again_s=%.1f",
                self._kind, self._rule, str(exc), pause_s,
            )  # fmt: skip
        else:
            log.log(
                logging.DEBUG if is_told else logging.INFO,
                "not served, taken as none kind=%s looked_for_again_s=%.1f", self._kind, pause_s,
            )  # fmt: skip

    def failed(self, exc: NodeplaneError, pause_s: float) -> None:
        """Tell that the kind is not followed now, and tried again after a pause."""
        log.warning(
            "%s kind=%s reason=%s error=%r retry_s=%.1f",
            "cluster state lost, last state in force" if self._has_listed else "no cluster state yet",
            self._kind, name_reason(exc), str(exc), pause_s,
        )  # fmt: skip
        if is_forbidden(exc):
            log.warning("not allowed to read, a ClusterRole must say kind=%s rule=%r", self._kind, self._rule)


def is_forbidden(exc: NodeplaneError) -> bool:
    """Say whether the server knows who asks, and does not let them."""
    return isinstance(exc, RefusedError) and exc.code == FORBIDDEN


def name_reason(exc: NodeplaneError) -> str:
    """Name the sort of a failure in a word: there are few, as a label of a counter has to have."""
    match exc:
        case RefusedError() | WatchFailedError():
            return f"status_{exc.code}"
        case SilenceError():
            return "silence"
        case ConfigError():
            return "configuration"
        case ProtocolError():
            return "protocol"
        case _:
            return "connection"
