"""The elements that should be in the kernel, kept up change by change at a flat cost (law 5).

Several service ports may want one element: two Services with one address and port (a conflict: the first
by name has it), or with an endpoint in common. So each element knows who wants it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from kubeproxy.elements import ElementKey, build_elements
from kubeproxy.layout import FRONTENDS, HAIRPINS, SLOTS
from kubeproxy.pool_numbers import PoolNumbers
from kubeproxy.service_port import PoolName, ServicePort
from nodeplane.datapath.nft.table import ElementChange
from nodeplane.reconcile.delta import diff

ServiceName = tuple[str, str]


class DesiredElements:
    """The desired elements of one table, and what has changed in them since it was last asked."""

    def __init__(self, numbers: PoolNumbers | None = None) -> None:
        self.elements: dict[str, dict[bytes, bytes]] = {FRONTENDS: {}, SLOTS: {}, HAIRPINS: {}}
        self._numbers = numbers or PoolNumbers()
        self._ports: dict[PoolName, ServicePort] = {}
        self._services: dict[ServiceName, tuple[PoolName, ...]] = {}
        self._built: dict[PoolName, dict[ElementKey, bytes]] = {}
        self._rivals: defaultdict[ElementKey, set[PoolName]] = defaultdict(set)
        self._before: dict[ElementKey, bytes | None] = {}

    @property
    def service_ports(self) -> int:
        """How many service ports are published."""
        return len(self._ports)

    def set_service(self, service: ServiceName, ports: Iterable[ServicePort]) -> None:
        """Put what a Service publishes in place of what it published before."""
        fresh = {port.name: port for port in ports}
        known = self._services.get(service, ())
        gone = [name for name in known if name not in fresh]
        changed = {name for name, port in fresh.items() if self._ports.get(name) != port}
        for name in gone:
            del self._ports[name]
        self._ports.update(fresh)
        if fresh:
            self._services[service] = tuple(fresh)
        else:
            self._services.pop(service, None)
        changed |= self._numbers.update(fresh, gone)
        for name in gone:
            self._rebuild(name, {})
        for name in sorted(changed):
            self._rebuild(name, dict(build_elements(self._ports[name], self._numbers[name])))

    def take_changes(self) -> dict[str, ElementChange]:
        """Return what has changed since the last call, by map."""
        remove: defaultdict[str, list[bytes]] = defaultdict(list)
        add: defaultdict[str, dict[bytes, bytes]] = defaultdict(dict)
        for (map_name, key), before in self._before.items():
            now = self.elements[map_name].get(key)
            if now == before:
                continue
            if before is not None:
                remove[map_name].append(key)
            if now is not None:
                add[map_name][key] = now
        self._before.clear()
        return {
            map_name: ElementChange(remove=remove[map_name], add=add[map_name])
            for map_name in self.elements
            if map_name in remove or map_name in add
        }

    def changes_from(self, actual: Mapping[str, Mapping[bytes, bytes]]) -> dict[str, ElementChange]:
        """Return what turns the elements that a table holds into the desired ones."""
        changes = {}
        for map_name, wanted in self.elements.items():
            found = actual.get(map_name, {})
            delta = diff(wanted, found)
            if delta:
                replaced = [key for key in delta.upsert if key in found]
                changes[map_name] = ElementChange(remove=[*delta.delete, *replaced], add=dict(delta.upsert))
        self._before.clear()
        return changes

    def _rebuild(self, name: PoolName, elements: dict[ElementKey, bytes]) -> None:
        old = self._built.pop(name, {})
        if elements:
            self._built[name] = elements
        for key in old.keys() - elements.keys():
            self._drop(key, name)
        for key, data in elements.items():
            if old.get(key) != data or key not in old:
                self._want(key, name)

    def _want(self, key: ElementKey, name: PoolName) -> None:
        rivals = self._rivals[key]
        rivals.add(name)
        self._settle(key, rivals)

    def _drop(self, key: ElementKey, name: PoolName) -> None:
        rivals = self._rivals[key]
        rivals.discard(name)
        self._settle(key, rivals)
        if not rivals:
            del self._rivals[key]

    def _settle(self, key: ElementKey, rivals: set[PoolName]) -> None:
        """Give the element to the first of those who want it."""
        map_name, encoded = key
        now = self.elements[map_name]
        self._before.setdefault(key, now.get(encoded))
        if rivals:
            now[encoded] = self._built[min(rivals)][key]
        else:
            now.pop(encoded, None)
