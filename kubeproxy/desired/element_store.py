"""Elements, who wants them, and what has changed in them since it was last asked.

Several service ports may want one element: two Services with one address and port (a conflict: the first by
name has it), or with an endpoint in common. So each element that is claimed has an owner, the first by name
of those who claim it.
"""

from collections.abc import Callable, Iterable, Mapping

from kubeproxy.desired.service_port import PortName
from nodeplane.datapath.nft.table import ElementChange
from nodeplane.reconcile.delta import diff

ElementKey = tuple[str, bytes]
"""Map name and encoded key."""

Claims = Mapping[ElementKey, bytes]

Split = Callable[[bytes, bytes], Iterable[bytes]]
"""From a claim's key and data to the keys of the elements that it stands for."""


class ElementStore:
    """The elements of one table as they should be.

    In a map of `joined` a claim stands for several elements, which the function finds in its key and data:
    the kernel takes no ranges that overlap, so of two claims to one key all ranges of one count.
    """

    def __init__(self, maps: Iterable[str], joined: Mapping[str, Split]) -> None:
        self.elements: dict[str, dict[bytes, bytes]] = {name: {} for name in maps}
        self._before: dict[str, dict[bytes, bytes | None]] = {name: {} for name in self.elements}
        # What came before anybody asked for changes is the start's business, which asks for all.
        self._is_followed = False
        self._claims: dict[PortName, Claims] = {}
        self._owners: dict[ElementKey, PortName] = {}
        self._rivals: dict[ElementKey, set[PortName]] = {}
        self._joined = joined
        self._parts: dict[ElementKey, frozenset[bytes]] = {}

    def put(self, map_name: str, key: bytes, data: bytes | None) -> None:
        """Set an element, or take it away."""
        now = self.elements[map_name]
        if self._is_followed:
            before = self._before[map_name]
            if key not in before:
                before[key] = now.get(key)
        if data is None:
            now.pop(key, None)
        else:
            now[key] = data

    def claim(self, owner: PortName, claims: Claims) -> None:
        """Put what a service port wants in place of what it wanted before."""
        known = self._claims.pop(owner, {})
        if claims:
            self._claims[owner] = claims
        for element in known.keys() - claims.keys():
            self._release(element, owner)
        for element, data in claims.items():
            if known.get(element) == data:
                # Who wants the same as before has it, or waits for it, as before.
                continue
            holder = self._owners.setdefault(element, owner)
            if holder != owner:
                self._rivals.setdefault(element, {holder}).add(owner)
                if holder < owner:
                    continue
                self._owners[element] = owner
            self._settle(element, data)

    def owner(self, element: ElementKey) -> PortName | None:
        """Return whose claim to an element counts."""
        return self._owners.get(element)

    def take_changes(self) -> dict[str, ElementChange]:
        """Return what has changed since the last call of this or of `changes_from`, by map; at first all."""
        if not self._is_followed:
            return self.changes_from({})
        changes = {}
        for map_name, before in self._before.items():
            if not before:
                continue
            now = self.elements[map_name]
            remove: list[bytes] = []
            add: dict[bytes, bytes] = {}
            for key, old in before.items():
                data = now.get(key)
                if data == old:
                    continue
                if old is not None:
                    remove.append(key)
                if data is not None:
                    add[key] = data
            before.clear()
            if remove or add:
                changes[map_name] = ElementChange(remove, add)
        return changes

    def changes_from(self, actual: Mapping[str, Mapping[bytes, bytes]]) -> dict[str, ElementChange]:
        """Return what turns the elements that a table holds into these."""
        self._is_followed = True
        changes = {}
        for map_name, wanted in self.elements.items():
            self._before[map_name].clear()
            found = actual.get(map_name, {})
            delta = diff(wanted, found)
            if delta:
                replaced = [key for key in delta.upsert if key in found]
                changes[map_name] = ElementChange([*delta.delete, *replaced], dict(delta.upsert))
        return changes

    def _release(self, element: ElementKey, owner: PortName) -> None:
        rivals = self._rivals.get(element)
        if rivals is None:
            del self._owners[element]
            self._settle(element, None)
            return
        rivals.discard(owner)
        heir = min(rivals)
        if len(rivals) == 1:
            del self._rivals[element]
        if self._owners[element] == owner:
            self._owners[element] = heir
            self._settle(element, self._claims[heir][element])

    def _settle(self, element: ElementKey, data: bytes | None) -> None:
        map_name, key = element
        split = self._joined.get(map_name)
        if split is None:
            self.put(map_name, key, data)
            return
        before = self._parts.pop(element, frozenset())
        now = frozenset(split(key, data)) if data else frozenset()
        if now:
            self._parts[element] = now
        for part in before - now:
            self.put(map_name, part, None)
        for part in now - before:
            self.put(map_name, part, b"")
