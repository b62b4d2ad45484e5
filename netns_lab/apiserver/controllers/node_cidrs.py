"""The node IPAM controller: each Node gets a range of pod addresses of its own, of each family."""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_network

import msgspec

from netns_lab.apiserver.history import Event
from netns_lab.apiserver.registry import Registry
from netns_lab.apiserver.resources import NODES, Resource
from netns_lab.apiserver.status import StatusError
from netns_lab.apiserver.wire import Json
from nodeplane.kube.objects import Node

Network = IPv4Network | IPv6Network

_RETRY_INTERVAL_S = 0.5
_NODE_PREFIXES = {4: 24, 6: 64}
"""The size of a node's range (--node-cidr-mask-size-ipv4, -ipv6)."""

log = logging.getLogger(__name__)


def assign_cidrs(
    names: Iterable[str], held: Mapping[str, tuple[str, ...]], pools: Iterable[Network]
) -> dict[str, tuple[str, ...]]:
    """Give each named node the first free range of each pool; a node for which there is none gets none."""
    taken = [ip_network(text) for cidrs in held.values() for text in cidrs]
    free = [_free(pool, taken) for pool in pools]
    given: dict[str, tuple[str, ...]] = {}
    for name in names:
        ranges = [next(pool, None) for pool in free]
        if ranges and None not in ranges:
            given[name] = tuple(str(network) for network in ranges)
    return given


def _free(pool: Network, taken: Iterable[Network]) -> Iterator[Network]:
    used = set(taken)
    prefix = max(pool.prefixlen, _NODE_PREFIXES[pool.version])
    size_bits = pool.max_prefixlen - prefix
    # Computed, not listed: an IPv6 pool has more subnets than fit into memory.
    others = [network for network in used if network.version == pool.version and network.prefixlen != prefix]
    for number in range(1 << (prefix - pool.prefixlen)):
        network = ip_network((int(pool.network_address) + (number << size_bits), prefix))
        if network not in used and not any(network.overlaps(other) for other in others):
            yield network


class NodeCidrController:
    """Told of every event by `observe`; works in `run`."""

    def __init__(self, registry: Registry, pools: tuple[Network, ...]) -> None:
        self._registry = registry
        self._pools = pools
        self._held: dict[str, tuple[str, ...]] = {}
        self._without: set[str] = set()
        self._wanted = asyncio.Event()

    def observe(self, resource: Resource, event: Event) -> None:
        """Take an event in."""
        if resource is not NODES:
            return
        item = event.new or event.old
        if item is None:
            return
        self._held.pop(item.name, None)
        self._without.discard(item.name)
        if event.new is not None:
            node = msgspec.json.decode(event.new.body, type=Node)
            if node.spec.pod_cidrs:
                self._held[item.name] = node.spec.pod_cidrs
            else:
                self._without.add(item.name)
        if self._without:
            self._wanted.set()

    async def run(self) -> None:
        """Assign for as long as the task lives."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            for name, cidrs in assign_cidrs(sorted(self._without), self._held, self._pools).items():
                try:
                    await self._registry.update(NODES, "", name, partial(_set_cidrs, cidrs))
                except StatusError as exc:
                    if exc.code != 404:
                        log.info("pod CIDR to be tried again node=%s error=%r", name, str(exc))
                        await asyncio.sleep(_RETRY_INTERVAL_S)
                        self._wanted.set()


def _set_cidrs(cidrs: tuple[str, ...], live: Json) -> Json:
    """Change a node that has no ranges; one that has got some meanwhile keeps them."""
    spec = live.get("spec") or {}
    if spec.get("podCIDRs"):
        return live
    return {**live, "spec": {**spec, "podCIDR": cidrs[0], "podCIDRs": list(cidrs)}}
