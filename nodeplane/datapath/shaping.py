"""How fast a link may send, and where what it receives goes: the values, and what can be done with them.

    link ──► token bucket (tbf) at its root      what the node sends through the link
    link ◄── redirect ──► ifb ──► token bucket   what it receives: only what is sent can be held back, so it
                                                 is sent through a link of its own first (an ifb)

Says what there is and does what it is told; whose a link is, its caller knows. For one thread at a time.
"""

from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

_BITS_PER_BYTE = 8
_TICK_NS = 64  # PSCHED_SHIFT, include/net/pkt_sched.h
_NS_PER_S = 10**9
_MOST = 2**32 - 1


class Bucket(msgspec.Struct, frozen=True):
    """A token bucket filter as the kernel keeps it.

    Attributes:
        rate_bytes: What flows in and may go out, a second.
        ticks: How much it holds: the time in which that flows in, in units of 64 ns.
        limit_bytes: How much may wait for tokens; what comes on top is dropped.
    """

    rate_bytes: int
    ticks: int
    limit_bytes: int


class Shape(msgspec.Struct, frozen=True):
    """What a link has of ours; somebody else's queue or filter is nothing."""

    bucket: Bucket | None = None
    target: str | None = None


def build_bucket(rate_bits: int, burst_bytes: int, queue_ms: int) -> Bucket:
    """Build a bucket of a rate in bits a second that holds `burst_bytes`.

    What waits may take `queue_ms` on top of the burst (tc-tbf(8), "latency"). The kernel counts a bucket's
    content in time, in 32 bits: it holds at most what flows in within 275 s.
    """
    rate_bytes = max(rate_bits // _BITS_PER_BYTE, 1)
    return Bucket(
        rate_bytes,
        min(-(-burst_bytes * _NS_PER_S // (rate_bytes * _TICK_NS)), _MOST),
        min(rate_bytes * queue_ms // 1000 + burst_bytes, _MOST),
    )


class Shaper(Protocol):
    """One namespace's queues.

    Links are named. Every method raises `KernelNotFoundError` for a link that is not there and `KernelError`
    with the kernel's errno otherwise.
    """

    def read(self, name: str) -> Shape:
        """Return what a link has of ours; its cost does not grow with the number of links."""
        ...

    def add_ifb(self, name: str, mtu_bytes: int) -> None:
        """Create a link that what others receive can be sent through, up.

        Raises:
            KernelExistsError: a link of that name is there.
        """
        ...

    def limit(self, name: str, bucket: Bucket) -> None:
        """Put a bucket at a link's root, in place of whatever is there."""
        ...

    def unlimit(self, name: str) -> None:
        """Take our bucket from a link's root; somebody else's, and none, are left."""
        ...

    def redirect(self, name: str, target: str) -> None:
        """Send all that a link receives through another, in place of whatever filters it had."""
        ...

    def undirect(self, name: str) -> None:
        """Take our redirection from a link; somebody else's filters, and none, are left."""
        ...


def open_shaper() -> AbstractContextManager[Shaper]:
    """Open the kernel's `Shaper` of the calling thread's namespace, as a context manager.

    Raises:
        KernelError: the socket can't be had.
    """
    # Late: most pods have no limit.
    from nodeplane.datapath.shaping_kernel import KernelShaper

    return KernelShaper()
