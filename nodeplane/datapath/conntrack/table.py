"""The connection tracking table of one network namespace.

`KernelConntrack` talks to the kernel, `FakeConntrack` (in `fake`) holds flows in memory. Calls are plain
system calls. A `find` makes the kernel walk its whole hash table, that of all namespaces together, but only
what agrees with the filter is copied out and decoded.
"""

import errno
from collections.abc import Iterator, Sequence
from typing import Protocol

from nodeplane.datapath import netlink as nl
from nodeplane.datapath.conntrack.flow import Flow, FlowFilter, Usage
from nodeplane.datapath.conntrack.message import (
    decode_flows,
    decode_usage,
    encode_delete,
    encode_find,
    encode_usage,
)
from nodeplane.datapath.netlink_socket import NetlinkSocket
from nodeplane.errors import KernelError, kernel_error

_DELETIONS_AT_ONCE = 512


class Conntrack(Protocol):
    """What can be done with the flows of a namespace."""

    def find(self, wanted: FlowFilter) -> Iterator[list[Flow]]:
        """Yield the flows that agree with a filter, a few hundred at most at a time.

        Nothing else may be asked before all have been read, or they are not asked for any more.
        """
        ...

    def delete(self, flows: Sequence[Flow]) -> int:
        """Delete entries and return how many were there; one that has ended, or began anew, is no error."""
        ...

    def usage(self) -> Usage:
        """Say how full the table is."""
        ...


class KernelConntrack:
    """A `Conntrack` of the namespace of the thread that opens it; use it as a context manager."""

    def __init__(self) -> None:
        self._socket = NetlinkSocket(nl.NETLINK_NETFILTER)

    def __enter__(self) -> "KernelConntrack":
        return self

    def __exit__(self, *_exc: object) -> None:
        self._socket.close()

    def find(self, wanted: FlowFilter) -> Iterator[list[Flow]]:
        """See `Conntrack`.

        Raises:
            KernelError: the kernel refused.
        """
        for datagram in self._socket.dump("find tracked flows", encode_find(wanted)):
            # The kernel's choice may be a wider one (see `message`), up to a whole family's flows before 5.8.
            yield [
                flow
                for flow in decode_flows(datagram)
                if flow.protocol == wanted.protocol and wanted.matches(flow)
            ]

    def delete(self, flows: Sequence[Flow]) -> int:
        """See `Conntrack`.

        Raises:
            KernelError: the kernel refused for another reason than that an entry is not there.
        """
        operation = "delete tracked flows"
        deleted = 0
        for start in range(0, len(flows), _DELETIONS_AT_ONCE):
            part = flows[start : start + _DELETIONS_AT_ONCE]
            last = len(part)
            requests = b"".join(
                encode_delete(flow, sequence, acknowledge=sequence == last)
                for sequence, flow in enumerate(part, 1)
            )
            errors = self._socket.errors(operation, requests, last)
            refused = [code for code in errors.values() if code != errno.ENOENT]
            if refused:
                raise kernel_error(operation, refused[0])
            deleted += last - len(errors)
        return deleted

    def usage(self) -> Usage:
        """See `Conntrack`.

        Raises:
            KernelError: the kernel does not say.
        """
        operation = "read the number of tracked flows"
        answers = self._socket.ask(operation, encode_usage())
        if not answers:
            raise KernelError(operation, errno.ENODATA)
        return decode_usage(answers[0])
