"""Virtual services in memory, as strict as the kernel; held to it by one contract test."""

import errno
from collections.abc import Collection, Mapping, Sequence

import msgspec

from nodeplane.datapath.ipvs.listing import Servers
from nodeplane.datapath.ipvs.service import (
    Change,
    DeleteServer,
    DeleteService,
    NewServer,
    NewServers,
    NewService,
    RealServer,
    ServerKey,
    ServerUse,
    ServiceKey,
    ServiceOptions,
    SetServer,
    SetService,
    Timeouts,
    describe,
    unpack_server,
)
from nodeplane.datapath.nft.expr import Family
from nodeplane.errors import KernelError, kernel_error

_SCHEDULERS = frozenset(
    ("rr", "wrr", "lc", "wlc", "sh", "dh", "sed", "nq", "lblc", "lblcr", "mh", "fo", "ovf")
)


class FakeIpvs:
    """An `Ipvs` over dictionaries; `writes` counts the changes that were made.

    Only the schedulers that it is given are there. `connect` gives a real server connections.
    """

    def __init__(self, schedulers: Collection[str] = _SCHEDULERS) -> None:
        self.writes = 0
        self._schedulers = schedulers
        self._services: dict[ServiceKey, ServiceOptions] = {}
        self._servers: dict[ServiceKey, dict[ServerKey, ServerUse]] = {}
        self._timeouts = Timeouts(900, 120, 300)

    def services(self) -> dict[ServiceKey, ServiceOptions]:
        """See `Ipvs`."""
        return dict(self._services)

    def find(self, key: ServiceKey) -> ServiceOptions | None:
        """See `Ipvs`."""
        return self._services.get(key)

    def servers(self, key: ServiceKey) -> dict[ServerKey, ServerUse]:
        """See `Ipvs`."""
        return dict(self._servers.get(key, {}))

    def all_servers(self, family: Family) -> Servers:
        """See `Ipvs`."""
        return {
            key: {server: msgspec.structs.replace(use, persistent=0) for server, use in held.items()}
            for key, held in self._servers.items()
            if key.family == family and (held or not key.mark)
        }

    def apply(self, changes: Sequence[Change]) -> Mapping[int, KernelError]:
        """See `Ipvs`."""
        refused: dict[int, KernelError] = {}
        for position, change in enumerate(changes):
            code = self._apply(change)
            if code:
                refused[position] = kernel_error(describe(change), code)
            else:
                self.writes += 1
        return refused

    def timeouts(self) -> Timeouts:
        """See `Ipvs`."""
        return self._timeouts

    def set_timeouts(self, timeouts: Timeouts) -> None:
        """See `Ipvs`."""
        before = self._timeouts
        self._timeouts = Timeouts(
            timeouts.tcp_s or before.tcp_s,
            timeouts.tcp_fin_s or before.tcp_fin_s,
            timeouts.udp_s or before.udp_s,
        )
        self.writes += 1

    def connect(
        self, key: ServiceKey, server: ServerKey, *, active: int, inactive: int = 0, persistent: int = 0
    ) -> None:
        """Let a real server have so many connections and remembered clients."""
        held = self._servers[key]
        held[server] = ServerUse(held[server].server, active, inactive, persistent)

    def _apply(self, change: Change) -> int:
        """Make a change; return the errno that the kernel would refuse it with, 0 if it would not."""
        if isinstance(change, NewService | SetService):
            return self._put(change)
        if change.key not in self._services:
            return errno.ESRCH
        if isinstance(change, DeleteService):
            del self._services[change.key], self._servers[change.key]
            return 0
        held = self._servers[change.key]
        if isinstance(change, NewServers):
            found = ((server, RealServer(weight)) for server, weight in map(unpack_server, change.servers))
            codes = [_put_server(held, NewServer(change.key, server, use)) for server, use in found]
            return next(filter(None, codes), 0)
        return _put_server(held, change)

    def _put(self, change: NewService | SetService) -> int:
        is_there = change.key in self._services
        if isinstance(change, NewService) == is_there:
            return errno.EEXIST if is_there else errno.ESRCH
        if change.options.scheduler not in self._schedulers:
            return errno.ENOENT
        self._services[change.key] = change.options
        self._servers.setdefault(change.key, {})
        return 0


def _put_server(held: dict[ServerKey, ServerUse], change: NewServer | SetServer | DeleteServer) -> int:
    server = change.server
    is_there = server in held
    if isinstance(change, DeleteServer):
        if not is_there:
            return errno.ENOENT
        del held[server]
        return 0
    if isinstance(change, NewServer) == is_there:
        return errno.EEXIST if is_there else errno.ENOENT
    before = held.get(server, ServerUse(RealServer()))
    held[server] = ServerUse(change.use, before.active, before.inactive, before.persistent)
    return 0
