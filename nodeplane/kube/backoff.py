"""How long to wait after a failure: longer each time, never in step with others."""

import random

# A server that asks for more would have the cluster's changes ignored for longer than a node can be wrong.
_MAX_RETRY_AFTER_S = 120.0


class Backoff:
    """Pauses that double from `first_s` to `max_s` seconds, each shortened at random by up to a half."""

    def __init__(self, first_s: float, max_s: float) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._next_s = first_s

    def reset(self) -> None:
        """Begin again with the first pause."""
        self._next_s = self._first_s

    def pause_s(self, at_least_s: float | None = None) -> float:
        """Return the next pause; `at_least_s` is what the server asked for."""
        # Jitter, so that a thousand nodes that lost the same server do not come back in step.
        pause_s = self._next_s * random.uniform(0.5, 1.0)
        self._next_s = min(self._next_s * 2, self._max_s)
        return max(pause_s, min(at_least_s or 0.0, _MAX_RETRY_AFTER_S))
