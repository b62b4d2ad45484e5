"""What should be in the kernel, kept up change by change at a flat cost (law 5)."""

from collections.abc import Iterable, Mapping, Sequence

from kubeproxy.desired.element_store import ElementKey, ElementStore
from kubeproxy.desired.elements import build_claims, split_ranges
from kubeproxy.desired.pools import (
    Content,
    ElementChanges,
    PoolName,
    PoolNumbers,
    PoolSlots,
    Shape,
    build_contents,
)
from kubeproxy.desired.port_book import PortBook, ServiceName
from kubeproxy.desired.service_port import PortName, ServicePort
from kubeproxy.rules.addresses import Network, PackedAddress
from kubeproxy.rules.layout import (
    NODE_PORT_IPS,
    SERVICE_CIDRS,
    SOURCE_RANGES,
    STATE_MAPS,
    encode_service_cidr,
)
from nodeplane.datapath.nft.table import ElementChange


class DesiredElements:
    """The desired elements of one table, and what has changed in them since it was last asked."""

    def __init__(self, numbers: PoolNumbers | None = None) -> None:
        self._store = ElementStore(STATE_MAPS, {SOURCE_RANGES: split_ranges})
        self._numbers = numbers or PoolNumbers()
        self._book = PortBook()
        self._pools: dict[PortName, tuple[PoolName, ...]] = {}
        self._contents: dict[PoolName, Content] = {}
        self._slots: dict[PoolName, PoolSlots] = {}

    @property
    def elements(self) -> Mapping[str, Mapping[bytes, bytes]]:
        """The elements by map."""
        return self._store.elements

    @property
    def ports(self) -> Mapping[PortName, ServicePort]:
        """The service ports that are published."""
        return self._book.ports

    def set_services(self, services: Mapping[ServiceName, Sequence[ServicePort]]) -> None:
        """Put what these Services publish in place of what they published before."""
        gone, changed = self._book.replace(services)
        if not gone and not changed:
            return
        moved = self._update_pools([*gone, *changed])
        for name in gone:
            self._store.claim(name, {})
        for name in {*changed, *moved}:
            values = {pool: self._slots[pool].value for pool in self._pools.get(name, ())}
            self._store.claim(name, build_claims(self.ports[name], values))

    def set_service_cidrs(self, networks: Iterable[Network]) -> None:
        """Put the networks of Services' addresses in place of those before; they must not overlap."""
        self._set_keys(SERVICE_CIDRS, {encode_service_cidr(network) for network in networks})

    def set_node_port_ips(self, addresses: Iterable[PackedAddress]) -> None:
        """Put the addresses that node ports are served on in place of those before."""
        self._set_keys(NODE_PORT_IPS, set(addresses))

    def set_own_ips(self, addresses: Iterable[PackedAddress]) -> None:
        """Take no notice of this node's own addresses: here the rules ask for them."""

    def take_changes(self) -> dict[str, ElementChange]:
        """Return what has changed since the last call, by map."""
        return self._store.take_changes()

    def changes_from(self, actual: Mapping[str, Mapping[bytes, bytes]]) -> dict[str, ElementChange]:
        """Return what turns the elements that a table holds into the desired ones."""
        return self._store.changes_from(actual)

    def take_touched_frontends(self) -> set[ElementKey] | None:
        """Return the frontends whose service port has changed since the last call; at first None: all."""
        return self._book.take_touched_frontends()

    def owner(self, frontend: ElementKey) -> ServicePort | None:
        """Return the service port that a frontend leads to."""
        name = self._store.owner(frontend)
        return None if name is None else self.ports[name]

    def _set_keys(self, map_name: str, keys: set[bytes]) -> None:
        """Put these elements in place of all of a set whose elements nobody else claims."""
        for key in self.elements[map_name].keys() - keys:
            self._store.put(map_name, key, None)
        for key in keys - self.elements[map_name].keys():
            self._store.put(map_name, key, b"")

    def _update_pools(self, names: Iterable[PortName]) -> set[PortName]:
        """Bring the pools of these ports up to date; return all ports whose pools may have new values."""
        fresh: list[PoolName] = []
        left: dict[PoolName, Shape] = {}
        come: dict[PoolName, Shape] = {}
        for name in names:
            contents = build_contents(self.ports[name]) if name in self.ports else {}
            for pool in self._pools.get(name, ()):
                # A pool that takes to remembering its clients, or gives it up, has a number of another kind.
                shape = self._contents[pool].shape
                if pool not in contents or contents[pool].shape.is_affine != shape.is_affine:
                    left[pool] = shape
                    del self._contents[pool]
            for pool, content in contents.items():
                if pool not in self._contents:
                    come[pool] = content.shape
                self._contents[pool] = content
            if contents:
                self._pools[name] = tuple(contents)
            else:
                self._pools.pop(name, None)
            fresh += contents
        moved = self._numbers.update(come, left) if come or left else set()
        affected = moved.union(fresh)
        # All that goes, first: what one pool leaves another may take.
        for pool in left:
            self._clear_slots(pool)
        for pool in affected:
            if pool in self._slots and self._slots[pool].value != self._value(pool):
                self._clear_slots(pool)
        for pool in affected:
            content = self._contents[pool]
            slots = self._slots.get(pool)
            if slots is None:
                slots = self._slots[pool] = PoolSlots(self._value(pool), content.shape)
            self._put_all(slots.update(content.entries))
        return {pool.port for pool in moved}

    def _value(self, pool: PoolName) -> int:
        return self._numbers.value(pool, self._contents[pool].shape)

    def _clear_slots(self, pool: PoolName) -> None:
        self._put_all(self._slots.pop(pool).update(()))

    def _put_all(self, changes: ElementChanges) -> None:
        put = self._store.put
        for map_name, key, data in changes:
            put(map_name, key, data)
