"""How long a VXLAN link stays that no pool needs any more: peers may hear of that later than we do."""

import asyncio
from collections.abc import Callable, Collection, Set

_GRACE_S = 5.0


class LinkGrace:
    """The links of families that are not needed, and until when they still receive.

    Args:
        on_over: Called when a link's time is over.
    """

    def __init__(self, on_over: Callable[[], None]) -> None:
        self._on_over = on_over
        self._until_s: dict[int, float] = {}

    def keep(self, unneeded: Set[int], led_to: Collection[int]) -> frozenset[int]:
        """Return which of the links that no pool needs stay for now; routes of before still lead to some."""
        loop = asyncio.get_running_loop()
        self._until_s = {version: at_s for version, at_s in self._until_s.items() if version in unneeded}
        for version in unneeded - self._until_s.keys():
            self._until_s[version] = loop.time() + _GRACE_S
            loop.call_later(_GRACE_S, self._on_over)
        now_s = loop.time()
        return frozenset(v for v in unneeded if v in led_to or now_s < self._until_s[v])
