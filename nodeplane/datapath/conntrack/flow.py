"""Flows of the connection tracking table, and what to look for among them."""

import msgspec

from nodeplane.datapath.nft.expr import Family

TCP, UDP, SCTP = 6, 17, 132


class Flow(msgspec.Struct, frozen=True, gc=False):
    """One tracked connection: how its first packet came, and where its answers come from.

    They come from `destination`, unless it was translated. Addresses are as the kernel has them, as bytes.

    Attributes:
        id: The kernel's name for the entry; one that is made later with the same addresses has another.
    """

    protocol: int
    source: bytes
    source_port: int
    destination: bytes
    destination_port: int
    reply_source: bytes
    reply_source_port: int
    id: int = 0
    zone: int = 0

    @property
    def is_translated(self) -> bool:
        """Whether its packets reach another place than the one that they were sent to."""
        return self.reply_source != self.destination or self.reply_source_port != self.destination_port


class FlowFilter(msgspec.Struct, frozen=True):
    """Which flows to find: all of one family and protocol that agree with whatever is not None."""

    family: Family
    protocol: int
    destination: bytes | None = None
    destination_port: int | None = None
    reply_source: bytes | None = None
    reply_source_port: int | None = None

    def matches(self, flow: Flow) -> bool:
        """Say whether a flow is meant; its family and protocol must be."""
        return (
            (self.destination is None or flow.destination == self.destination)
            and (self.destination_port is None or flow.destination_port == self.destination_port)
            and (self.reply_source is None or flow.reply_source == self.reply_source)
            and (self.reply_source_port is None or flow.reply_source_port == self.reply_source_port)
        )


class Usage(msgspec.Struct, frozen=True):
    """How many entries a namespace's table has, and how many it may have."""

    entries: int
    limit: int
