"""Pools: which endpoints of a service port share its connections, under which value, in which slots."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from math import gcd

import msgspec

from kubeproxy.desired.annotations import Method
from kubeproxy.desired.placement import Placement, place_by_chance, place_by_hash
from kubeproxy.desired.probing import ProbingTable
from kubeproxy.desired.service_port import PortName, ServicePort
from kubeproxy.rules.layout import (
    AFFINE_POOLS,
    MEMBER_ADDRESSES,
    MEMBERS,
    MEMBERS_ALIVE,
    SLOTS,
    PackedEndpoint,
    encode_slot,
    encode_value,
)
from kubeproxy.rules.pool_value import (
    AFFINE_POOL_BITS,
    AFFINE_POOL_MASK,
    FIRST_FLOW_HASH,
    FIRST_SOURCE_HASH,
    MEMBER_BITS,
    PLAIN_POOL_BITS,
    affine_value,
    member_value,
    plain_value,
)
from kubeproxy.rules.sizes import (
    AFFINITY_SIZES,
    BALANCE_SIZES,
    HASH_SIZES,
    MAX_MEMBERS,
    MAX_SLOTS,
    affinity_size,
    affinity_timeout,
    balance_size,
    hash_size,
)

ElementChanges = Iterator[tuple[str, bytes, bytes | None]]
"""Map names, encoded keys, and data: None for an element that goes."""


class PoolName(msgspec.Struct, frozen=True, order=True, gc=False):
    """The pool of a service port: of all its endpoints, or of those on this node."""

    port: PortName
    is_local: bool

    def encode(self) -> bytes:
        """Return the bytes that its number comes from."""
        port = self.port
        parts = (port.namespace, port.service, port.port, port.protocol, "local" if self.is_local else "")
        return "/".join(parts).encode()


class Shape(msgspec.Struct, frozen=True, gc=False):
    """How a pool chooses, apart from its number.

    Attributes:
        choice: Its class or, with session affinity, the place of its size.
        timeout: The place of its time-out; None without session affinity.
    """

    choice: int
    timeout: int | None = None

    @property
    def is_affine(self) -> bool:
        """Whether clients are remembered."""
        return self.timeout is not None

    def value(self, number: int) -> int:
        """Return the value of the pool that has this shape and number."""
        if self.timeout is not None:
            return affine_value(self.timeout, self.choice, number)
        return plain_value(self.choice, number)

    def placement(self) -> Placement:
        """Return an empty placement for this shape."""
        if self.is_affine:
            return place_by_chance(AFFINITY_SIZES[self.choice])
        if self.choice < FIRST_SOURCE_HASH:
            return place_by_chance(BALANCE_SIZES[self.choice])
        return place_by_hash(HASH_SIZES[(self.choice - FIRST_SOURCE_HASH) % len(HASH_SIZES)])


class Content(msgspec.Struct, frozen=True, gc=False):
    """What a pool has to be: its shape, and its endpoints, sorted, each as often as it has shares."""

    shape: Shape
    entries: tuple[PackedEndpoint, ...]


def build_contents(port: ServicePort) -> dict[PoolName, Content]:
    """Return the pools that a port needs, none for endpoints that nobody is led to.

    Endpoints beyond what a pool holds are left out: every connection still finds one.
    """
    wanted = []
    if port.uses_cluster:
        wanted.append((False, port.usable.cluster))
    if port.uses_local:
        wanted.append((True, port.usable.local))
    contents = {}
    for is_local, endpoints in wanted:
        entries = _shares(port, endpoints, MAX_MEMBERS if port.affinity_timeout_s else MAX_SLOTS)
        if entries:
            shape = _shape(entries, port.affinity_timeout_s, port.balancing.method)
            contents[PoolName(port.name, is_local)] = Content(shape, entries)
    return contents


class PoolNumbers:
    """The numbers of all pools; each format has numbers of its own, of so many bits."""

    def __init__(self, plain_bits: int = PLAIN_POOL_BITS, affine_bits: int = AFFINE_POOL_BITS) -> None:
        self._tables = {
            False: ProbingTable(1 << plain_bits, PoolName.encode),
            True: ProbingTable(1 << affine_bits, PoolName.encode),
        }

    def update(self, added: dict[PoolName, Shape], removed: dict[PoolName, Shape]) -> set[PoolName]:
        """Take pools in and out; return those whose number may be another now."""
        touched = set()
        for is_affine, table in self._tables.items():
            places = table.update(
                [name for name, shape in added.items() if shape.is_affine == is_affine],
                [name for name, shape in removed.items() if shape.is_affine == is_affine],
            )
            touched |= {table.keys[place] for place in places if place in table.keys}
        return touched

    def value(self, name: PoolName, shape: Shape) -> int:
        """Return the value of a pool that was taken in."""
        return shape.value(self._tables[shape.is_affine][name])


class PoolSlots:
    """The elements of one pool's slots, under one value."""

    def __init__(self, value: int, shape: Shape) -> None:
        self.value = value
        self._placement = shape.placement()
        self._members = Members(value & AFFINE_POOL_MASK) if shape.is_affine else None

    def update(self, entries: tuple[PackedEndpoint, ...]) -> ElementChanges:
        """Put `entries` in place of those before, none to clear the pool; yield what that changes."""
        if self._members is not None:
            yield from self._update_members(self._members, entries)
            return
        for index, endpoint in self._placement.update(entries).items():
            yield SLOTS, encode_slot(self.value, index), endpoint

    def _update_members(self, members: "Members", entries: tuple[PackedEndpoint, ...]) -> ElementChanges:
        pool = encode_value(self.value & AFFINE_POOL_MASK)
        yield AFFINE_POOLS, pool, encode_value(self.value) if entries else None
        changed, moved = members.update(set(entries))
        for member, endpoint in changed.items():
            yield MEMBER_ADDRESSES, member, endpoint
            yield MEMBERS_ALIVE, member, None if endpoint is None else b""
        slots = dict(self._placement.update(entries))
        if moved:
            standing = self._placement.slots.items()
            slots.update((index, endpoint) for index, endpoint in standing if endpoint in moved)
        for index, endpoint in slots.items():
            yield MEMBERS, encode_slot(self.value, index), None if endpoint is None else members[endpoint]


class Members:
    """The endpoints that the clients of one pool are remembered with."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._table: ProbingTable[PackedEndpoint] = ProbingTable(1 << MEMBER_BITS, bytes)

    def __getitem__(self, endpoint: PackedEndpoint) -> bytes:
        return self._encode(self._table[endpoint])

    def update(
        self, endpoints: set[PackedEndpoint]
    ) -> tuple[dict[bytes, PackedEndpoint | None], set[PackedEndpoint]]:
        """Put `endpoints` in place of those before.

        Returns:
            The members that are others now, and the endpoints from before that may have another member.
        """
        keys = self._table.keys
        before = set(keys.values())
        touched = self._table.update(endpoints - before, before - endpoints)
        changed = {self._encode(place): keys.get(place) for place in touched}
        return changed, {keys[place] for place in touched if place in keys} & before

    def _encode(self, place: int) -> bytes:
        return encode_value(member_value(place, self._number))


def _shape(entries: tuple[PackedEndpoint, ...], timeout_s: int, method: Method) -> Shape:
    if timeout_s:
        return Shape(affinity_size(len(entries)), affinity_timeout(timeout_s))
    if method == "random":
        return Shape(balance_size(len(entries)))
    first = FIRST_SOURCE_HASH if method == "source-hash" else FIRST_FLOW_HASH
    return Shape(first + hash_size(len(set(entries)), len(entries)))


def read_weights(port: ServicePort, endpoints: Sequence[PackedEndpoint]) -> list[tuple[PackedEndpoint, int]]:
    """Return the endpoints with the weights that the Service gives them, 1 if it does not."""
    by_name = dict(port.balancing.weights)
    if not by_name:
        return [(endpoint, 1) for endpoint in endpoints]
    pods = dict(port.pods)
    return [
        (endpoint, by_name.get(pods.get(endpoint, ""), by_name.get(str(ip_address(endpoint[:-4])), 1)))
        for endpoint in endpoints
    ]


def _shares(port: ServicePort, endpoints: Sequence[PackedEndpoint], limit: int) -> tuple[PackedEndpoint, ...]:
    """Return the endpoints, each as often as its weight says, together at most `limit` times."""
    if not port.balancing.weights:
        return tuple(endpoints[:limit])
    weights = dict([each for each in read_weights(port, endpoints) if each[1]][:limit])
    divisor = gcd(*weights.values())
    total = sum(weights.values())
    if total > limit * divisor:
        # Coarser, but in proportion: to cut the list would leave the last ones without any.
        spare = limit - len(weights)
        weights = {endpoint: 1 + weight * spare // total for endpoint, weight in weights.items()}
        divisor = 1
    return tuple(endpoint for endpoint, weight in weights.items() for _ in range(weight // divisor))
