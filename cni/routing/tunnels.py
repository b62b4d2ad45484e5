"""This node's own addresses in pools, its ends of the tunnels: one of each family that has tunnels.

Peers learn of them from the datastore. They are given once (`Allocator.assign_tunnel`), and freed when the
last pool of the family that is routed by VXLAN is gone, and the link with it.
"""

import threading
from collections.abc import Collection, Iterable, Mapping

import msgspec

from ipam.allocator import Allocator
from ipam.datastore import open_datastore
from ipam.errors import DatastoreError, IpamError
from ipam.model import Address, Pool, tunnel_handle
from ipam.watch import Tunnel

TUNNELLED = frozenset({"vxlan", "cross-subnet"})
_NO_TUNNELS: Mapping[str, Address] = {}


class TunnelPlan(msgspec.Struct, frozen=True):
    """What is to be done: of each set of pools one is to give an address; some are to get it back."""

    assign: tuple[tuple[Pool, ...], ...] = ()
    release: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.assign or self.release)


def choose_tunnel(pools: Iterable[Pool], tunnels: Iterable[Tunnel]) -> Address | None:
    """Return which of a node's addresses of a family its link has: of a tunnelled pool, the first by name."""
    wanted = {pool.name for pool in pools if pool.mode in TUNNELLED}
    ordered = sorted(tunnels, key=lambda item: (item.pool not in wanted, item.pool))
    return ordered[0].address if ordered else None


def plan_tunnels(
    pools: Iterable[Pool],
    held: Collection[Tunnel],
    usable: Collection[int],
    linked: Collection[int],
) -> TunnelPlan:
    """Say what is to be done about a node's own addresses.

    Args:
        pools: All pools.
        held: What the node has.
        usable: The families in which it has an address that others can send to.
        linked: The families in which it has a VXLAN link: what that uses is not given back.
    """
    wanted = sorted((pool for pool in pools if pool.mode in TUNNELLED), key=lambda pool: pool.name)
    assign: list[tuple[Pool, ...]] = []
    release: list[str] = []
    for version in (4, 6):
        own = [item for item in held if item.address.version == version]
        possible = tuple(pool for pool in wanted if pool.network.version == version)
        kept = choose_tunnel(possible, own)
        if possible and version in usable and not any(item.pool in _names(possible) for item in own):
            assign.append(possible)
        elif possible or version not in linked:
            release += [item.pool for item in own if not possible or item.address != kept]
    return TunnelPlan(tuple(assign), tuple(release))


def carry_out(
    datastore_url: str,
    node: str,
    labels: Mapping[str, str],
    plan: TunnelPlan,
    ended: threading.Event | None = None,
) -> tuple[str, ...]:
    """Give a node its addresses, and give back those that it needs no more; return what could not be done.

    Whoever sets `ended`, from another thread, has it wait for no server any more.

    Raises:
        DatastoreError: the datastore can't be used.
    """
    problems: list[str] = []
    with open_datastore(datastore_url, create=False, ended=ended) as datastore:
        allocator = Allocator(datastore, ())
        for pools in plan.assign:
            problems += _assign(allocator, node, labels, pools)
        for pool in plan.release:
            allocator.release(tunnel_handle(node, pool))
    return tuple(problems)


def _assign(allocator: Allocator, node: str, labels: Mapping[str, str], pools: Iterable[Pool]) -> list[str]:
    """Take an address of the first pool that has one for this node; say why there is none."""
    problems = []
    for pool in pools:
        try:
            allocator.assign_tunnel(node, pool, labels)
        except DatastoreError:
            raise
        except IpamError as exc:
            # It is for other nodes, disabled, or full.
            problems.append(str(exc))
        else:
            return []
    return problems


def _names(pools: Iterable[Pool]) -> set[str]:
    return {pool.name for pool in pools}
