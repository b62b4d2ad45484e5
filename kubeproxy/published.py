"""What a table's elements publish, for `kubeproxy show`: read back from the kernel, whoever wrote it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address

import msgspec

from kubeproxy.rules.addresses import Address
from kubeproxy.rules.layout import (
    FRONTENDS,
    LOCAL_POOLS,
    MEMBER_ADDRESSES,
    MEMBERS,
    NODE_PORTS,
    SLOTS,
    Endpoint,
    Frontend,
    decode_endpoint,
    decode_frontend,
    decode_slot,
    decode_value,
    encode_value,
)
from kubeproxy.rules.pool_value import (
    AFFINE,
    AFFINE_POOL_MASK,
    DROP,
    KIND_MASK,
    KIND_SHIFT,
    LOCAL_KINDS,
    WITHOUT_KIND,
)
from nodeplane.datapath.nft.table import ElementUse

Elements = Mapping[str, Mapping[bytes, bytes]]


class Published(msgspec.Struct, frozen=True):
    """Where a frontend leads: its value, and the endpoints in the pool that it names.

    Attributes:
        is_outside: It is for clients from elsewhere alone, who reach other endpoints than this node and its
            pods (`externalTrafficPolicy: Local`).
    """

    frontend: Frontend
    value: int
    endpoints: tuple[Endpoint, ...]
    is_outside: bool = False


class Remembered(msgspec.Struct, frozen=True, order=True):
    """A client that session affinity leads to one endpoint, for so many seconds more."""

    client: Address
    endpoint: Endpoint
    seconds: float


def read_published(elements: Elements) -> list[Published]:
    """Decode a table's elements: each frontend, by name, and those of policy Local twice."""
    pools: dict[int, set[bytes]] = {}
    for key, data in elements.get(SLOTS, {}).items():
        pools.setdefault(decode_slot(key)[0], set()).add(data)
    addresses = elements.get(MEMBER_ADDRESSES, {})
    for key, member in elements.get(MEMBERS, {}).items():
        if member in addresses:
            pools.setdefault(decode_slot(key)[0], set()).add(addresses[member])
    found = [
        published
        for name in (FRONTENDS, NODE_PORTS)
        for key, data in elements.get(name, {}).items()
        for published in _read(decode_frontend(key), decode_value(data), elements, pools)
    ]
    return sorted(found, key=lambda each: (str(each.frontend), each.is_outside))


def count_remembered(uses: Iterable[ElementUse]) -> Counter[int]:
    """Count the clients that are remembered, by number of pool."""
    return Counter(decode_value(use.key[-4:]) for use in uses)


def read_remembered(elements: Elements, uses: Iterable[ElementUse]) -> dict[int, list[Remembered]]:
    """Decode the clients that are remembered, by number of pool; those of endpoints that are gone are not."""
    addresses = elements.get(MEMBER_ADDRESSES, {})
    found: defaultdict[int, list[Remembered]] = defaultdict(list)
    for use in uses:
        endpoint = addresses.get(use.data)
        if endpoint is not None:
            client = ip_address(use.key[:-4])
            found[decode_value(use.key[-4:])].append(
                Remembered(client, decode_endpoint(endpoint), use.expires_s)
            )
    return {pool: sorted(clients, key=str) for pool, clients in found.items()}


def pool_number(value: int) -> int | None:
    """Return the number that a pool's clients are remembered under; None for one without session affinity."""
    return value & AFFINE_POOL_MASK if value & AFFINE else None


def _read(
    frontend: Frontend, value: int, elements: Elements, pools: Mapping[int, set[bytes]]
) -> Iterator[Published]:
    """Yield where a frontend leads this node and its pods, and where others, if that is elsewhere."""
    kind = (value & KIND_MASK) >> KIND_SHIFT
    yield Published(frontend, value, _decode_all(pools.get(value & WITHOUT_KIND, ())))
    if kind in LOCAL_KINDS:
        local = elements.get(LOCAL_POOLS, {}).get(encode_value(value & WITHOUT_KIND))
        inner = DROP if local is None else decode_value(local)
        yield Published(
            frontend, inner | kind << KIND_SHIFT, _decode_all(pools.get(inner, ())), is_outside=True
        )


def _decode_all(endpoints: Iterable[bytes]) -> tuple[Endpoint, ...]:
    return tuple(decode_endpoint(endpoint) for endpoint in sorted(endpoints))
