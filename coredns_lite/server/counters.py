"""What a packet loop has done: added up over several, and told as what was done since."""

import operator

import msgspec
from msgspec.structs import astuple


class Counters(msgspec.Struct):
    """What a worker has done; written by its thread alone, so that counting needs no lock."""

    batches: int = 0
    received: int = 0
    sent: int = 0
    uncached: int = 0
    """Queries to which no reply was kept."""
    dropped: int = 0
    """Packets that must not be replied to."""
    deferred: int = 0
    """Queries that are answered later, on the asyncio loop; their replies are not among `sent`."""
    overloaded: int = 0
    """Queries that were refused (SERVFAIL) because too many waited for their answers; among `sent`."""
    unsent: int = 0
    """Replies that the kernel refused."""
    defects: int = 0
    """Packets that met an error in this program."""

    def plus(self, other: "Counters") -> "Counters":
        """Add another worker's."""
        return Counters(*map(operator.add, astuple(self), astuple(other)))

    def minus(self, earlier: "Counters") -> "Counters":
        """Say what was done since."""
        return Counters(*map(operator.sub, astuple(self), astuple(earlier)))
