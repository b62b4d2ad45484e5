"""What turns a virtual service into another, and what of it has to wait for its connections to end.

A real server that is not wanted any more, or a whole virtual service, keeps the connections that it has and
gets no new ones: its weight is 0 until nothing is left of them (k/k #57841, #99162). Datagrams are no
connections: there it goes at once, and IPVS leads the next one elsewhere (`expire_nodest_conn`).
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from kubeproxy.ipvs.layout import (
    SPARE,
    VirtualService,
    decode_key,
    encode_weight,
    is_datagram,
    server_key,
)
from nodeplane.datapath.ipvs.service import (
    Change,
    DeleteServer,
    DeleteService,
    NewServers,
    NewService,
    RealServer,
    ServiceKey,
    SetServer,
    SetService,
)
from nodeplane.datapath.nft.expr import Family

_IDLE = RealServer(0)
_AT_ONCE = 1000


class ServiceStep(msgspec.Struct, frozen=True):
    """One virtual service on its way.

    Attributes:
        changes: What to tell the kernel, in order.
        after: What it holds then; None for nothing.
        draining: Real servers that are to go when their connections have ended.
        kept: The same, but that endpoints still serve and so have all the time that they need.
        is_wanted: Whether it is to stay.
    """

    changes: tuple[Change, ...]
    after: VirtualService | None
    draining: frozenset[bytes] = frozenset()
    kept: frozenset[bytes] = frozenset()
    is_wanted: bool = True


def step_service(
    family: Family, key: bytes, held: VirtualService | None, wanted: VirtualService | None
) -> ServiceStep:
    """Say what turns `held`, which the kernel has under a key, into `wanted`, as far as that can be now."""
    name = decode_key(family, key)
    if wanted is None:
        return (
            ServiceStep((), None, is_wanted=False)
            if held is None
            else _leave(name, held, drains=not is_datagram(key))
        )
    if held is None:
        fresh = wanted.servers
        if SPARE in fresh.values():
            fresh = {server: weight for server, weight in fresh.items() if weight != SPARE}
        after = VirtualService(wanted.options, fresh)
        return ServiceStep((NewService(name, wanted.options), *_add(name, fresh.items())), after)
    changes: list[Change] = []
    if held.options != wanted.options:
        changes.append(SetService(name, wanted.options))
    servers = dict(held.servers)
    # Whose hash meets a real server of weight 0, dh refuses: it knows no other one (ip_vs_dh_schedule).
    can_wait = wanted.options.scheduler != "dh"
    spare = {server for server in servers if wanted.servers.get(server) == SPARE}
    gone = servers.keys() - wanted.servers.keys()
    kept = spare if can_wait else set()
    draining = gone if can_wait and not is_datagram(key) else set()
    for server in sorted((gone | spare) - draining - kept):
        del servers[server]
        changes.append(DeleteServer(name, server_key(server)))
    changes += _weigh(name, servers, dict.fromkeys((*draining, *kept), 0))
    here = {
        server: weight for server, weight in wanted.servers.items() if server in servers and weight != SPARE
    }
    changes += _weigh(name, servers, here)
    come = {
        server: weight
        for server, weight in wanted.servers.items()
        if server not in servers and weight != SPARE
    }
    servers |= come
    changes += _add(name, come.items())
    return ServiceStep(
        tuple(changes), VirtualService(wanted.options, servers), frozenset(draining), frozenset(kept)
    )


def _leave(name: ServiceKey, held: VirtualService, *, drains: bool) -> ServiceStep:
    """Take away a virtual service that nobody wants, if need be when its connections have ended."""
    if not drains or not held.servers:
        return ServiceStep((DeleteService(name),), None, is_wanted=False)
    servers = dict(held.servers)
    changes = tuple(_weigh(name, servers, dict.fromkeys(servers, 0)))
    after = VirtualService(held.options, servers)
    return ServiceStep(changes, after, frozenset(servers), is_wanted=False)


def _weigh(name: ServiceKey, servers: dict[bytes, int], weights: Mapping[bytes, int]) -> Iterator[Change]:
    """Give some of the real servers these weights."""
    for server in sorted(weights):
        weight = weights[server]
        if servers[server] != weight:
            servers[server] = weight
            yield SetServer(name, server_key(server), _IDLE if weight == 0 else RealServer(weight))


def _add(name: ServiceKey, servers: Iterable[tuple[bytes, int]]) -> Iterator[Change]:
    packed = [server + encode_weight(weight) for server, weight in servers]
    for start in range(0, len(packed), _AT_ONCE):
        yield NewServers(name, tuple(packed[start : start + _AT_ONCE]))
