"""A connection tracking table in memory, held to the kernel's by one contract test."""

import errno
from collections.abc import Iterator, Sequence
from itertools import count

from msgspec.structs import replace

from nodeplane.datapath.conntrack.flow import Flow, FlowFilter, Usage
from nodeplane.errors import kernel_error

_Tuple = tuple[int, int, bytes, int, bytes, int]


class FakeConntrack:
    """A `Conntrack` without a kernel; `finds` are the filters that it was asked with."""

    def __init__(self, limit: int = 1 << 18) -> None:
        self.finds: list[FlowFilter] = []
        self._limit = limit
        self._flows: dict[_Tuple, Flow] = {}
        self._replies: set[_Tuple] = set()
        self._ids = count(1)

    def add(self, flow: Flow) -> Flow:
        """Track a flow and return it with its id."""
        if _original(flow) in self._flows or _reply(flow) in self._replies:
            raise kernel_error("add tracked flow", errno.EEXIST)
        if len(self._flows) >= self._limit:
            raise kernel_error("add tracked flow", errno.ENOMEM)
        self._flows[_original(flow)] = known = replace(flow, id=next(self._ids))
        self._replies.add(_reply(flow))
        return known

    def find(self, wanted: FlowFilter) -> Iterator[list[Flow]]:
        """See `Conntrack`; one flow at a time."""
        self.finds.append(wanted)
        length = 4 if wanted.family == "ip" else 16
        for flow in [*self._flows.values()]:
            if len(flow.destination) == length and flow.protocol == wanted.protocol and wanted.matches(flow):
                yield [flow]

    def delete(self, flows: Sequence[Flow]) -> int:
        """See `Conntrack`."""
        deleted = 0
        for flow in flows:
            known = self._flows.get(_original(flow))
            if known is not None and known.id == flow.id:
                del self._flows[_original(flow)]
                self._replies.remove(_reply(known))
                deleted += 1
        return deleted

    def usage(self) -> Usage:
        """See `Conntrack`."""
        return Usage(len(self._flows), self._limit)


def _original(flow: Flow) -> _Tuple:
    return (
        *(flow.zone, flow.protocol, flow.source, flow.source_port),
        *(flow.destination, flow.destination_port),
    )


def _reply(flow: Flow) -> _Tuple:
    return (
        *(flow.zone, flow.protocol, flow.reply_source, flow.reply_source_port),
        *(flow.source, flow.source_port),
    )
