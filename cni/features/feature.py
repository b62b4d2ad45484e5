"""What a pod's link has beyond its wiring: the one place where the commands call each feature.

A feature is told of every pod that is added, checked and deleted; what it wants of the configuration it reads
itself. What it has made it remembers in a folder beside the agent's socket: a DEL or GC must always succeed,
with a configuration that does not fit any more or without the pod's namespace, and what somebody wipes off
the kernel must come back (docs/adr/0009).
"""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cni.attachment import Attachment, Found
from cni.features.host_ports import HostPorts
from cni.features.pod_shaping import PodShaping
from cni.features.source_check import SourceCheck
from cni.pod import Pod
from cni.wiring.plan import Plan
from nodeplane.cnispec import Request

if TYPE_CHECKING:
    from nodeplane.datapath.nft.table import Elements


Make = Callable[[Plan, Found], None]
"""Makes a feature on the links of a plan, which are new or "ours", with what an earlier ADD left on them."""


class Feature(Protocol):
    """One of them; `folder` is where it remembers."""

    def prepare(self, request: Request) -> Make:
        """Judge the configuration before anything is made; return what makes the feature."""
        ...

    def remove(self, attachment: Attachment, folder: Path) -> None:
        """Undo it, by the container id and interface alone; what is gone already is fine."""
        ...

    def check(self, pod: Pod) -> list[str]:
        """Say what differs from what was made, a line for each."""
        ...

    def collect(self, network: str, valid: Collection[tuple[str, str]], folder: Path) -> None:
        """Undo it for every (container, interface) of a network that is not valid."""
        ...

    def elements(self, folder: Path) -> "Elements":
        """Return all that our table (`node_table.py`) must hold of it for pods whose links are there."""
        ...


FEATURES: tuple[Feature, ...] = (SourceCheck(), HostPorts(), PodShaping())
"""In the order of making; undone the other way round."""


def all_elements(folder: Path) -> "Elements":
    """Return what our table must hold of all features."""
    from cni.features.node_table import join_elements

    return join_elements(feature.elements(folder) for feature in FEATURES)
