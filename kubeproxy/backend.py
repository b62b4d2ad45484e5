"""What a mode has to be: one Protocol, of which nftables (`family_proxier`) and IPVS (`ipvs.family`) are two.

A backend is of one address family. It holds what should be in the kernel (`Desired`), says what a sync would
write (`BackendChange`) and writes it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from kubeproxy.desired.element_store import ElementKey
from kubeproxy.desired.port_book import ServiceName
from kubeproxy.desired.service_port import PortName, ServicePort
from kubeproxy.flows.flow_cleaner import FlowCleaner
from kubeproxy.rules.addresses import Network, PackedAddress
from nodeplane.datapath.nft.expr import Family
from nodeplane.runtime.output import Row


class Desired(Protocol):
    """What should be in the kernel, kept up change by change."""

    @property
    def elements(self) -> Mapping[str, Mapping[bytes, bytes]]:
        """All that should be there, by map."""
        ...

    @property
    def ports(self) -> Mapping[PortName, ServicePort]:
        """The service ports that are published."""
        ...

    def set_services(self, services: Mapping[ServiceName, Sequence[ServicePort]]) -> None:
        """Put what these Services publish in place of what they published before."""
        ...

    def set_service_cidrs(self, networks: Iterable[Network]) -> None:
        """Put the networks of Services' addresses in place of those before; they must not overlap."""
        ...

    def set_node_port_ips(self, addresses: Iterable[PackedAddress]) -> None:
        """Put the addresses that nodePortAddresses chooses in place of those before."""
        ...

    def set_own_ips(self, addresses: Iterable[PackedAddress]) -> None:
        """Put this node's own addresses in place of those before."""
        ...

    def take_touched_frontends(self) -> set[ElementKey] | None:
        """Return the frontends whose service port has changed since the last call; at first None: all."""
        ...

    def owner(self, frontend: ElementKey) -> ServicePort | None:
        """Return the service port that a frontend leads to."""
        ...


class BackendChange(Protocol):
    """What one sync has to write."""

    @property
    def elements(self) -> int:
        """How many things go and come."""
        ...

    @property
    def done(self) -> str:
        """What is done to the table as a whole, in a word: written, repaired, or nothing."""
        ...

    def __bool__(self) -> bool: ...

    def rows(self) -> list[Row]:
        """Return a row for each thing that goes or comes, for `plan`."""
        ...


class Drainable(Protocol):
    """What may have to wait for its connections to end."""

    @property
    def is_draining(self) -> bool:
        """Whether something waits."""
        ...

    def drain(self) -> int:
        """Take away what waited for its connections, as far as they have ended; return the transactions.

        Raises:
            KernelError: the kernel refused.
        """
        ...


class Backend(Drainable, Protocol):
    """One address family of one mode."""

    @property
    def family(self) -> Family:
        """The address family."""
        ...

    @property
    def desired(self) -> Desired:
        """What should be in the kernel."""
        ...

    @property
    def cleaner(self) -> FlowCleaner | None:
        """Removes tracked flows that are stale, if that is wanted."""
        ...

    def sync(self, *, full: bool) -> tuple[BackendChange, int]:
        """Write what has changed, or with `full` what the kernel lacks; return it, and the transactions.

        Raises:
            KernelError: the kernel refused.
        """
        ...

    def preview(self) -> BackendChange:
        """Say what a full sync would write; write nothing."""
        ...

    def generation(self) -> int:
        """Return the ruleset's generation, which grows with each transaction of anyone."""
        ...
