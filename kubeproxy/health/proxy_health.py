"""Whether this proxy does its work (KEP-3836; k/k pkg/proxy/healthcheck/proxy_health.go).

It is healthy as long as no change of the cluster has waited for the kernel longer than it may, in any family.
Load balancers ask `/healthz`, which also says no for a node that is about to go; who would restart the proxy
asks `/livez`, since a restart does not keep a node.
"""

from collections.abc import Iterable

import msgspec

from nodeplane.datapath.nft.expr import Family

FAMILY_NAMES: dict[Family, str] = {"ip": "IPv4", "ip6": "IPv6"}
"""Families by the names that upstream's health pages and metrics have for them."""


class FamilyHealth(msgspec.Struct, frozen=True):
    """One family's part; `updated_s` is None before the first sync."""

    is_healthy: bool
    updated_s: float | None


class Health(msgspec.Struct, frozen=True):
    """What is known at one moment."""

    is_eligible: bool
    families: dict[Family, FamilyHealth]

    @property
    def is_live(self) -> bool:
        """Whether every family is up to date."""
        return all(family.is_healthy for family in self.families.values())

    @property
    def updated_s(self) -> float | None:
        """When the last family was up to date; None if one never was."""
        times = [family.updated_s for family in self.families.values()]
        known = [time_s for time_s in times if time_s is not None]
        return min(known) if known and len(known) == len(times) else None


class ProxyHealth:
    """Keeps since when changes wait; times are seconds of a clock that never jumps.

    Args:
        families: The families that are programmed.
        limit_s: How long a change may wait.
    """

    def __init__(self, families: Iterable[Family], limit_s: float) -> None:
        self._limit_s = limit_s
        self._waiting: dict[Family, float | None] = dict.fromkeys(families)
        self._updated: dict[Family, float | None] = dict.fromkeys(self._waiting)
        self.is_eligible = True

    def queued(self, now_s: float) -> None:
        """Note that there is something to write; what waits already has waited longer."""
        for family, since_s in self._waiting.items():
            if since_s is None:
                self._waiting[family] = now_s

    def updated(self, now_s: float) -> None:
        """Note that the kernel is as it should be."""
        for family in self._waiting:
            self._waiting[family] = None
            self._updated[family] = now_s

    def check(self, now_s: float) -> Health:
        """Say how it stands."""
        return Health(
            self.is_eligible,
            {
                family: FamilyHealth(
                    since_s is None or now_s - since_s <= self._limit_s, self._updated[family]
                )
                for family, since_s in self._waiting.items()
            },
        )
