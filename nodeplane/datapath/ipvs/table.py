"""The virtual services of one network namespace.

`KernelIpvs` talks to the kernel, `FakeIpvs` (in `fake`) is as strict and holds them in memory. Calls are
plain system calls. Unlike nf_tables, IPVS knows no transactions and tells nobody of changes: each of the
messages that are sent together counts by itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

from nodeplane.datapath import genetlink
from nodeplane.datapath import netlink as nl
from nodeplane.datapath.ipvs import answer, message, number
from nodeplane.datapath.ipvs.listing import Listing, Servers, decode_listing
from nodeplane.datapath.ipvs.service import (
    Change,
    ServerKey,
    ServerUse,
    ServiceKey,
    ServiceOptions,
    Timeouts,
    describe,
)
from nodeplane.datapath.netlink_socket import NetlinkSocket
from nodeplane.datapath.nft.expr import Family
from nodeplane.errors import KernelError, KernelNotFoundError, kernel_error

# In one call of send: the requests fit into the socket's buffer, and so do the refusals of all of them.
_BYTES_AT_ONCE = 1 << 18
_CHANGING = "change virtual services"


class Ipvs(Protocol):
    """What can be done with the virtual services of a namespace."""

    def services(self) -> dict[ServiceKey, ServiceOptions]:
        """Return all virtual services, of both families and everybody's."""
        ...

    def find(self, key: ServiceKey) -> ServiceOptions | None:
        """Return one virtual service, None if it is not there."""
        ...

    def servers(self, key: ServiceKey) -> dict[ServerKey, ServerUse]:
        """Return the real servers of a virtual service; none for one that is not there."""
        ...

    def all_servers(self, family: Family) -> Servers:
        """Return the real servers of all virtual services of a family, remembered clients not counted.

        One of a mark that has none may be missing, and one that others add or delete meanwhile.
        """
        ...

    def apply(self, changes: Sequence[Change]) -> Mapping[int, KernelError]:
        """Make several changes, and return what the kernel refused, by position.

        They are made in order; one that is refused does not stop those behind it.
        """
        ...

    def timeouts(self) -> Timeouts:
        """Return the time-outs."""
        ...

    def set_timeouts(self, timeouts: Timeouts) -> None:
        """Set the time-outs; one of 0 stays as it is."""
        ...


class KernelIpvs:
    """The `Ipvs` of the namespace of the thread that opens it; a context manager that closes it.

    Raises:
        KernelNotFoundError: the kernel has no IPVS, nor a module of it that it can load.
    """

    def __init__(self) -> None:
        self._socket = NetlinkSocket(genetlink.NETLINK_GENERIC)
        try:
            self._family = genetlink.find_family(self._socket, number.FAMILY_NAME)
        except KernelError:
            self._socket.close()
            raise
        # Now or never: IPVS is there, and so is its list, but for systems without /proc.
        self._listing: Listing | None = None
        try:
            self._listing = Listing()
        except FileNotFoundError:
            pass
        except KernelError:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it; it can't be used any more."""
        self._socket.close()
        if self._listing is not None:
            self._listing.close()
            self._listing = None

    def services(self) -> dict[ServiceKey, ServiceOptions]:
        """See `Ipvs`."""
        payloads = self._dump("list virtual services", message.encode_services_query(self._family))
        return dict(answer.decode_services(payloads))

    def find(self, key: ServiceKey) -> ServiceOptions | None:
        """See `Ipvs`."""
        request = message.encode_service_query(self._family, key)
        try:
            found = self._socket.question("read a virtual service", request)
        except KernelNotFoundError:
            return None
        return next((options for _, options in answer.decode_services([found])), None)

    def servers(self, key: ServiceKey) -> dict[ServerKey, ServerUse]:
        """See `Ipvs`."""
        # Of a service that is not there the kernel's dump is empty (ip_vs_genl_dump_dests).
        payloads = self._dump("list real servers", message.encode_servers_query(self._family, key))
        return dict(answer.decode_servers(key.family, payloads))

    def all_servers(self, family: Family) -> Servers:
        """See `Ipvs`."""
        if self._listing is not None:
            return decode_listing(self._listing.read(), family)
        return {key: self.servers(key) for key in self.services() if key.family == family}

    def apply(self, changes: Sequence[Change]) -> Mapping[int, KernelError]:
        """See `Ipvs`."""
        refused: dict[int, KernelError] = {}
        parts: list[bytes] = []
        size = 0
        for sequence, change in enumerate(changes, start=1):
            part = message.encode_change(self._family, sequence, change)
            parts.append(part)
            size += len(part)
            if size >= _BYTES_AT_ONCE or sequence == len(changes):
                end = len(changes) + 1
                parts.append(message.encode_end(self._family, end))
                for place, code in self._socket.errors(_CHANGING, b"".join(parts), end).items():
                    refused[place - 1] = kernel_error(describe(changes[place - 1]), code)
                parts.clear()
                size = 0
        return refused

    def timeouts(self) -> Timeouts:
        """See `Ipvs`."""
        request = message.encode_timeouts_query(self._family)
        return answer.decode_timeouts(self._socket.question("read time-outs of IPVS", request))

    def set_timeouts(self, timeouts: Timeouts) -> None:
        """See `Ipvs`."""
        self._socket.ask("set time-outs of IPVS", message.encode_timeouts(self._family, timeouts))

    def _dump(self, operation: str, request: bytes) -> Iterator[memoryview]:
        for datagram in self._socket.dump(operation, request):
            for kind, _flags, _sequence, payload in nl.messages(datagram):
                if kind == self._family:
                    yield payload
