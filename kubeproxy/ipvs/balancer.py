"""The virtual services of one family and the link with their addresses: read, changed, drained.

Neither IPVS nor a link's addresses know transactions. So that no packet meets half a service, what comes is
written from the inside outward, the rules of the table in the middle, and what goes is taken away after them:

    virtual services ─► (table) ─► addresses ─► virtual services that go ─► addresses that go
"""

from collections.abc import Container, Iterable, Mapping
from ipaddress import ip_address

import msgspec

from kubeproxy.ipvs.address_link import AddressLink
from kubeproxy.ipvs.drain import Drain
from kubeproxy.ipvs.layout import (
    LINK_ADDRESSES,
    MARK_BASE,
    MARK_MASK,
    VIRTUAL_SERVICES,
    VirtualService,
    decode_key,
    decode_service,
    encode_key,
    encode_service,
    pack_key,
    server_key,
)
from kubeproxy.ipvs.service_delta import ServiceStep, step_service
from kubeproxy.ipvs.service_writer import ServiceWriter, raise_first
from kubeproxy.rules.addresses import Network, PackedAddress, family_of
from nodeplane.datapath.ipvs.service import (
    Change,
    DeleteServer,
    DeleteService,
    Method,
    ServerKey,
    ServerUse,
    ServiceKey,
)
from nodeplane.datapath.ipvs.table import Ipvs
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.table import ElementChange
from nodeplane.errors import KernelError

Changes = Mapping[str, ElementChange]

_OTHER_METHOD = 0xFFFE
"""Stands for the weight of a real server that is not masqueraded: no weight of ours, so it is set anew."""


class BalancerChange(msgspec.Struct, frozen=True):
    """What one sync has to tell IPVS and the link.

    Attributes:
        steps: Virtual services by key.
        come: Addresses that the link gets.
        stay: Addresses that it has, and that are wanted again.
        go: Addresses that nobody wants any more; they stay while a virtual service drains there.
    """

    steps: Mapping[bytes, ServiceStep] = {}
    come: tuple[PackedAddress, ...] = ()
    stay: tuple[PackedAddress, ...] = ()
    go: tuple[PackedAddress, ...] = ()

    @property
    def changes(self) -> list[Change]:
        """All changes of virtual services."""
        return [change for step in self.steps.values() for change in step.changes]

    @property
    def size(self) -> int:
        """How much there is to write."""
        return sum(len(step.changes) for step in self.steps.values()) + len(self.come) + len(self.go)


NOTHING = BalancerChange()


class Balancer:
    """What IPVS holds of a family, as far as it is ours: all but what `excluded` says, and others' marks.

    Args:
        family: The address family.
        ipvs: IPVS.
        link: The link with the addresses.
        excluded: Networks whose virtual services are somebody else's, unless a Service publishes them.
        drain: Remembers what waits for its connections to end.
        default_scheduler: What Services get whose own is not there.
    """

    def __init__(
        self,
        family: Family,
        ipvs: Ipvs,
        link: AddressLink,
        *,
        excluded: Iterable[Network] = (),
        drain: Drain | None = None,
        default_scheduler: str = "rr",
    ) -> None:
        self._family: Family = family
        self._ipvs = ipvs
        self._writer = ServiceWriter(ipvs, default_scheduler)
        self._link = link
        self._excluded = [network for network in excluded if family_of(network) == family]
        self._drain = Drain() if drain is None else drain
        self._held: dict[bytes, VirtualService] = {}
        self._unwanted: set[PackedAddress] = set()

    @property
    def is_draining(self) -> bool:
        """Whether connections are waited for."""
        return bool(self._drain)

    def read(self, wanted: Container[bytes] = ()) -> dict[str, dict[bytes, bytes]]:
        """Read what the kernel holds, and return it as desired elements are.

        Virtual services that are `wanted` are ours wherever they are.
        """
        services = self._ipvs.services()
        servers = self._ipvs.all_servers(self._family)
        self._held = {
            encode_key(key): VirtualService(
                options, _weights(servers[key] if key in servers else self._ipvs.servers(key))
            )
            for key, options in services.items()
            if key.family == self._family and (self._is_ours(key) or encode_key(key) in wanted)
        }
        self._drain.keep(self._held)
        self._link.read()
        self._unwanted &= self._link.addresses
        return {
            VIRTUAL_SERVICES: {
                key: encode_service(held.options, sorted(held.servers.items()))
                for key, held in self._held.items()
            },
            LINK_ADDRESSES: dict.fromkeys(self._link.addresses, b""),
        }

    def plan(self, changes: Changes) -> BalancerChange:
        """Say what to write for changes of desired elements."""
        services = changes.get(VIRTUAL_SERVICES, ElementChange())
        addresses = changes.get(LINK_ADDRESSES, ElementChange())
        steps: dict[bytes, ServiceStep] = {}
        for key, data in services.add.items():
            wanted = self._writer.with_known_scheduler(decode_service(self._family, data))
            steps[key] = step_service(self._family, key, self._held.get(key), wanted)
        for key in services.remove:
            if key not in services.add:
                steps[key] = step_service(self._family, key, self._held.get(key), None)
        here = self._link.addresses
        return BalancerChange(
            steps,
            come=tuple(address for address in addresses.add if address not in here),
            stay=tuple(address for address in addresses.add if address in here),
            go=tuple(address for address in addresses.remove if address not in self._unwanted),
        )

    def lingering(self, change: BalancerChange = NOTHING) -> set[PackedAddress]:
        """Return the addresses that nobody wants after a change, and that the link may have still."""
        return (self._unwanted | {*change.go}) - {*change.come, *change.stay}

    def bring(self, change: BalancerChange) -> list[KernelError]:
        """Write the virtual services that come and that change, and return what the kernel refused.

        Afterwards the table may lead clients here.
        """
        self._unwanted = self.lingering(change)
        changes: list[Change] = []
        for key, step in change.steps.items():
            if step.after is not None:
                changes += step.changes
                self._held[key] = step.after
        if changes:
            self._link.make()
        return self._writer.write(changes)

    def bring_addresses(self, change: BalancerChange) -> list[KernelError]:
        """Give the link the addresses that come, and return what the kernel refused.

        From then on they are this node's own: the table has to say already what their other ports are.
        """
        return self._link.add(change.come)

    def leave(self, change: BalancerChange, now_s: float) -> list[KernelError]:
        """Take away what goes, as far as no connection is left, and return what the kernel refused.

        `drain` does the rest.
        """
        changes: list[Change] = []
        for key, step in change.steps.items():
            if step.after is None:
                changes += step.changes
                self._held.pop(key, None)
            self._drain.follow(key, step, now_s)
        return [*self._writer.write(changes), *self.drain(now_s)]

    def drain(self, now_s: float) -> list[KernelError]:
        """Take away what waits no longer, and return what the kernel refused.

        That is real servers, virtual services without any, and their addresses.
        """
        changes: list[Change] = []
        for key in self._drain:
            name = decode_key(self._family, key)
            uses = {pack_key(server): use for server, use in self._ipvs.servers(name).items()}
            held = self._held[key]
            ended = self._drain.end(key, uses, now_s)
            if self._drain.is_over(key):
                self._drain.forget(key)
                del self._held[key]
                changes.append(DeleteService(name))
                continue
            changes += (DeleteServer(name, server_key(server)) for server in ended if server in uses)
            rest = {server: weight for server, weight in held.servers.items() if server not in ended}
            self._held[key] = VirtualService(held.options, rest)
        errors = self._writer.write(changes)
        if self._unwanted:
            drained = {key[:-8] for key in self._drain if len(key) > 8}
            free = self._unwanted - drained
            self._unwanted -= free
            errors += self._link.remove([address for address in free if address in self._link.addresses])
        return errors

    def delete_all(self) -> int:
        """Take all virtual services away at once; return how many there were.

        Raises:
            KernelError: the kernel refused.
        """
        self.read()
        changes = [DeleteService(decode_key(self._family, key)) for key in self._held]
        raise_first(self._writer.write(changes))
        self._held.clear()
        return len(changes)

    def _is_ours(self, key: ServiceKey) -> bool:
        if key.mark:
            return key.mark & MARK_MASK == MARK_BASE
        address = ip_address(key.address)
        return not any(address in network for network in self._excluded)


def _weights(uses: Mapping[ServerKey, ServerUse]) -> dict[bytes, int]:
    return {
        pack_key(server): use.server.weight if use.server.method == Method.MASQUERADE else _OTHER_METHOD
        for server, use in uses.items()
    }
