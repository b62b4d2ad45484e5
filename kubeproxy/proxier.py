"""The reconciler: batches of objects in, one transaction a change out.

One `FamilyProxier` for each address family, as each has its own table. `Proxier` holds them together,
knows when a sync has to read the kernel first, and notices when somebody else wrote to the ruleset.
"""

import logging
import time
from collections.abc import Iterable, Mapping

import msgspec

from kubeproxy.backend import Backend, BackendChange, Drainable
from kubeproxy.desired.annotations import read_balancing
from kubeproxy.desired.endpoints import DecodedSlice, Place, decode_slice
from kubeproxy.desired.port_book import ServiceName
from kubeproxy.desired.service_port import (
    HEADLESS_LABEL,
    PROXY_NAME_LABEL,
    FamilyView,
    ServicePort,
    build_service_ports,
)
from kubeproxy.flows.flow_cleaner import CleanReport
from kubeproxy.health.service_health import HealthChecks
from kubeproxy.own_node import read_node
from kubeproxy.rules.addresses import Address, Network, PackedAddress, collapse, family_of, parse_network
from kubeproxy.rules.layout import TABLE
from nodeplane.datapath.nft.expr import ADDRESS_BYTES, Family
from nodeplane.errors import KernelError
from nodeplane.kube.api_request import Selector
from nodeplane.kube.objects import EndpointSlice, Node, Object, ObjectKey, Service, ServiceCIDR
from nodeplane.kube.source import Batch
from nodeplane.kube.store import Store

log = logging.getLogger(__name__)

WATCHED: tuple[type[Object], ...] = (Service, EndpointSlice, Node, ServiceCIDR)


def selectors(node_name: str) -> dict[type[Object], Selector]:
    """Return what upstream asks an API server for; the proxier leaves the same things out by itself."""
    return {
        Service: Selector(label=f"!{PROXY_NAME_LABEL}", field="spec.clusterIP!=None"),
        EndpointSlice: Selector(label=f"!{HEADLESS_LABEL}"),
        Node: Selector(field=f"metadata.name={node_name}"),
        # Roles of before 1.33 don't know it; without it, packets to addresses that no Service has go on.
        ServiceCIDR: Selector(is_optional=True),
    }


class SyncReport(msgspec.Struct, frozen=True):
    """What a sync did: transactions, elements that went or came, and how long each family took."""

    transactions: int
    elements: int
    seconds: Mapping[Family, float]


class Proxier:
    """All families together."""

    def __init__(
        self,
        node_name: str,
        families: Iterable[Backend],
        node_ips: Iterable[Address] = (),
        *,
        allows_external_ips: bool = True,
        leftover: Drainable | None = None,
    ) -> None:
        self._node_name = node_name
        self._allows_external_ips = allows_external_ips
        # In place of the Node's own addresses of their family (bindAddress).
        self._node_ips = tuple(node_ips)
        self._node_problems: tuple[str, ...] = ()
        self._families = tuple(families)
        # What another mode has left.
        self._leftover = leftover
        self._has_synced = False
        self._store = Store()
        self._decoded: dict[ObjectKey, DecodedSlice] = {}
        self._service_cidrs: dict[ObjectKey, tuple[Network, ...]] = {}
        self._views = self._build_views()
        self._generation = 0
        self.health_checks = HealthChecks()

    @property
    def families(self) -> tuple[Backend, ...]:
        """The families, each with what it should hold."""
        return self._families

    def take(self, batch: Batch) -> None:
        """Take objects in; nothing reaches the kernel before the next sync."""
        touched = self._store.apply(batch)
        kinds = set()
        for change in batch:
            kinds.add(change.key.kind)
            if change.key.kind is EndpointSlice:
                self._take_slice(change.key, change.new)
            elif change.key.kind is ServiceCIDR:
                self._take_service_cidr(change.key, change.new)
            elif isinstance(change.new, Service):
                for problem in read_balancing(change.new.metadata.annotations).problems:
                    log.warning("annotation ignored service=%s error=%r", change.key, problem)
        if Node in kinds:
            views, self._views = self._views, self._build_views()
            if views != self._views:
                touched |= self._store.services()
        self._build_services(touched)
        if ServiceCIDR in kinds:
            networks = [network for found in self._service_cidrs.values() for network in found]
            for proxier in self._families:
                mine = [network for network in networks if family_of(network) == proxier.family]
                proxier.desired.set_service_cidrs(collapse(mine))

    def _take_slice(self, key: ObjectKey, piece: Object | None) -> None:
        if not isinstance(piece, EndpointSlice) or HEADLESS_LABEL in piece.labels:
            self._decoded.pop(key, None)
            return
        try:
            self._decoded[key] = decode_slice(piece)
        except (OSError, ValueError) as exc:
            _log_skipped(key, exc)

    def _take_service_cidr(self, key: ObjectKey, item: Object | None) -> None:
        if not isinstance(item, ServiceCIDR):
            self._service_cidrs.pop(key, None)
            return
        try:
            self._service_cidrs[key] = tuple(map(parse_network, item.spec.cidrs or ()))
        except ValueError as exc:
            _log_skipped(key, exc)

    def _build_services(self, names: Iterable[ServiceName]) -> None:
        """Say anew what these Services publish, in each family."""
        published: list[dict[ServiceName, tuple[ServicePort, ...]]] = [{} for _ in self._families]
        for name in names:
            service = self._store.service(*name)
            slices = [
                self._decoded[piece.key] for piece in self._store.slices(*name) if piece.key in self._decoded
            ]
            try:
                ports = [build_service_ports(service, slices, view) for view in self._views]
            except (OSError, ValueError) as exc:
                _log_skipped(ObjectKey(Service, *name), exc)
                continue
            for view, into, found in zip(self._views, published, ports, strict=True):
                into[name] = found
                self.health_checks.set_service(name, service, slices, view)
        for proxier, services in zip(self._families, published, strict=True):
            proxier.desired.set_services(services)

    def set_node_port_ips(self, addresses: Iterable[PackedAddress]) -> None:
        """Say on which addresses node ports are served, where that is not everywhere."""
        wanted = set(addresses)
        for proxier in self._families:
            length = ADDRESS_BYTES[proxier.family]
            proxier.desired.set_node_port_ips(address for address in wanted if len(address) == length)

    def set_own_ips(self, addresses: Iterable[PackedAddress]) -> None:
        """Say which addresses the links of this node have, ours apart."""
        own = set(addresses)
        for proxier in self._families:
            length = ADDRESS_BYTES[proxier.family]
            proxier.desired.set_own_ips(address for address in own if len(address) == length)

    def _build_views(self) -> tuple[FamilyView, ...]:
        """Say where this proxy is; without a Node object it is a node of that name and nothing more."""
        node = read_node(self._store.get(Node, "", self._node_name))
        for problem in node.problems:
            if problem not in self._node_problems:
                log.error("left out of our own Node node=%s error=%r", self._node_name, problem)
        self._node_problems = node.problems
        overridden = {family_of(address) for address in self._node_ips}
        addresses = [
            *self._node_ips,
            *(address for address in node.internal_ips if family_of(address) not in overridden),
        ]
        place = Place(self._node_name, node.zone)
        return tuple(
            FamilyView(
                proxier.family,
                place,
                tuple(address.packed for address in addresses if family_of(address) == proxier.family),
                self._allows_external_ips,
            )
            for proxier in self._families
        )

    def plan(self) -> list[BackendChange]:
        """Say what a full sync would write; writes nothing."""
        return [proxier.preview() for proxier in self._families]

    def sync(self, *, full: bool) -> SyncReport:
        """Bring the kernel to the desired state.

        Raises:
            KernelError: the kernel refused a family; the other one is written all the same. Sync in full
                next.
        """
        started = time.monotonic()
        if full:
            self._generation = self._read_generation()
        written = 0
        commits = 0
        errors: list[KernelError] = []
        seconds: dict[Family, float] = {}
        for proxier in self._families:
            family_started = time.monotonic()
            try:
                change, done = proxier.sync(full=full)
                commits += done
            except KernelError as exc:
                # The other family is not to wait for this one.
                errors.append(exc)
                continue
            seconds[proxier.family] = time.monotonic() - family_started
            written += change.elements
            if change.done:
                log.info("table %s family=%s table=%s", change.done, proxier.family, TABLE)
        # Each commit is one generation. Had another write come between, the sum is not what the kernel says.
        self._generation += commits
        log.log(
            logging.INFO if commits or written else logging.DEBUG,
            "synced full=%s elements=%d service_ports=%d seconds=%.4f",
            full,
            written,
            sum(len(proxier.desired.ports) for proxier in self._families),
            time.monotonic() - started,
        )
        if errors:
            for error in errors[1:]:
                log.error("sync failed error=%r", str(error))
            raise errors[0]
        self._has_synced = True
        return SyncReport(commits, written, seconds)

    async def clean_flows(self) -> dict[Family, CleanReport]:
        """Remove tracked flows that go where their frontend does not lead any more; call after a sync.

        Others may run in between: a hundred thousand flows take more than half a second.

        Raises:
            KernelError: the kernel refused; the next call does what this one left.
        """
        return {
            proxier.family: await proxier.cleaner.clean(proxier.desired)
            for proxier in self._families
            if proxier.cleaner is not None
        }

    @property
    def is_draining(self) -> bool:
        """Whether something in the kernel waits for its connections to end."""
        return any(each.is_draining for each in self._drainables())

    def drain(self) -> None:
        """Take away what waited for its connections, as far as they have ended.

        Raises:
            KernelError: the kernel refused.
        """
        for each in self._drainables():
            self._generation += each.drain()

    def _drainables(self) -> list[Drainable]:
        # What is left of another mode serves until this one does.
        left = [self._leftover] if self._leftover is not None and self._has_synced else []
        return [*self._families, *left]

    def is_disturbed(self) -> bool:
        """Say whether somebody else has written to the ruleset since the last sync."""
        return self._read_generation() != self._generation

    def _read_generation(self) -> int:
        return self._families[0].generation()


def _log_skipped(key: ObjectKey, exc: Exception) -> None:
    """Tell of an object whose addresses are none; an API server of old lets some in."""
    log.error("object skipped, its last version stays in force object=%s error=%r", key, str(exc))
