"""Addresses of endpoints that meet in the space of members, so that chance need not find them."""

from itertools import islice

from kubeproxy.desired.probing import ProbingTable
from kubeproxy.rules.pool_value import MEMBER_BITS
from tests.kubeproxy.objects import at


def _home(address: str) -> int:
    table: ProbingTable[bytes] = ProbingTable(1 << MEMBER_BITS, bytes)
    table.update([at(address)], ())
    return table[at(address)]


def _groups() -> list[list[str]]:
    homes: dict[int, list[str]] = {}
    for number in range(3000):
        address = f"10.244.{number >> 8}.{number & 255}"
        homes.setdefault(_home(address), []).append(address)
    return [group for group in homes.values() if len(group) > 2]


COLLIDING = [address for group in islice(_groups(), 4) for address in group]
"""Four groups of three or more addresses, which want one place each with port 8080."""
