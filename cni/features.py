"""What a pod's link has beyond its wiring: the one place where the commands call each feature.

A feature is told of every pod that is added, checked and deleted; what it wants of the configuration it reads
itself. `remove` and `collect` work without a configuration that fits: a DEL must always succeed.
"""

from collections.abc import Callable, Collection
from typing import Protocol

import msgspec

from cni.wiring import Plan
from nodeplane.cnispec import Request


class Pod(msgspec.Struct, frozen=True):
    """The pod that a call is about: the call, and the links that it has got or is getting."""

    request: Request
    plan: Plan


class Feature(Protocol):
    """One of them."""

    def prepare(self, request: Request) -> Callable[[Plan], None]:
        """Judge the configuration before anything is made; return what makes the feature."""
        ...

    def remove(self, container_id: str, interface: str, host_link: str) -> None:
        """Undo it; what is gone already is fine."""
        ...

    def check(self, pod: Pod) -> list[str]:
        """Say what differs from what was made, a line for each."""
        ...

    def collect(self, network: str, valid: Collection[tuple[str, str]]) -> None:
        """Undo it for every (container, interface) of a network that is not valid."""
        ...


FEATURES: tuple[Feature, ...] = ()
"""In the order of making; undone the other way round."""
