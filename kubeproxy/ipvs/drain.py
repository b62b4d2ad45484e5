"""Real servers that wait for their last connection, and for how long.

Remembers and decides; who asks the kernel and writes to it is `balancer`.
"""

from collections.abc import Collection, Container, Iterator, Mapping

from kubeproxy.ipvs.service_delta import ServiceStep
from nodeplane.datapath.ipvs.service import ServerUse

DEFAULT_LIMIT_S = 900.0
"""As long as IPVS itself keeps an idle connection."""


class Drain:
    """The real servers of all virtual services that get no new connections.

    Args:
        limit_s: How long one whose endpoint is gone keeps its connections at most.
    """

    def __init__(self, limit_s: float = DEFAULT_LIMIT_S) -> None:
        self._limit_s = limit_s
        # By virtual service, when each began; None: its endpoint serves still, and it has all the time.
        self._waiting: dict[bytes, dict[bytes, float | None]] = {}
        self._unwanted: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the keys of the virtual services that have any."""
        yield from tuple(self._waiting)

    def keep(self, keys: Container[bytes]) -> None:
        """Forget all virtual services but these: the others are not there any more."""
        self._waiting = {key: waiting for key, waiting in self._waiting.items() if key in keys}
        self._unwanted = {key for key in self._unwanted if key in keys}

    def follow(self, key: bytes, step: ServiceStep, now_s: float) -> None:
        """Take in what a step says of one virtual service: who waits, and who is in use again."""
        before = self._waiting.pop(key, {})
        waiting: dict[bytes, float | None] = dict.fromkeys(step.kept)
        for server in step.draining:
            began_s = before.get(server)
            waiting[server] = now_s if began_s is None else began_s
        if waiting:
            self._waiting[key] = waiting
        if step.is_wanted:
            self._unwanted.discard(key)
        elif waiting:
            self._unwanted.add(key)

    def end(self, key: bytes, uses: Mapping[bytes, ServerUse], now_s: float) -> Collection[bytes]:
        """Return the real servers of a virtual service that wait no longer, and forget them.

        `uses` are those that the kernel has, with their connections.
        """
        waiting = self._waiting[key]
        ended = [server for server in waiting if self._is_over(uses.get(server), waiting[server], now_s)]
        for server in ended:
            del waiting[server]
        if not waiting:
            del self._waiting[key]
        return ended

    def is_over(self, key: bytes) -> bool:
        """Say whether nobody wants a virtual service, and nothing waits there any more."""
        return key in self._unwanted and key not in self._waiting

    def forget(self, key: bytes) -> None:
        """Forget a virtual service that is gone."""
        self._unwanted.discard(key)

    def _is_over(self, use: ServerUse | None, began_s: float | None, now_s: float) -> bool:
        # Not active ones alone: one that is half closed may still send (RFC 9293, 3.6).
        if use is None or not use.active + use.inactive:
            return True
        return began_s is not None and now_s - began_s >= self._limit_s
