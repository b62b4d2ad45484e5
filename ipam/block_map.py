"""A block's addresses, drawn: a character for each, or for a few where the block is large.

######..~~#>..   # in use   > in use on another node   ~ freed, waits its turn   . never used   x reserved
"""

from collections.abc import Collection

from ipam.model import Block, Network

LEGEND = "# in use, > in use on another node, ~ freed, . never used, x reserved"
"""What the characters mean; where one stands for several addresses, a digit is how many tenths are in use."""

_WIDTH = 64
_MOST_CHARACTERS = 4 * _WIDTH


def draw_block(block: Block, reserved: Collection[Network] = ()) -> list[str]:
    """Draw a block in lines of 64 characters, the first address first."""
    addresses = _draw_addresses(block, reserved)
    each = -(-len(addresses) // _MOST_CHARACTERS)
    drawn = addresses if each == 1 else _draw_groups(addresses, each)
    return [drawn[start : start + _WIDTH] for start in range(0, len(drawn), _WIDTH)]


def _draw_addresses(block: Block, reserved: Collection[Network]) -> str:
    drawn = ["#"] * block.fresh + ["."] * (block.size - block.fresh)
    for item in block.released:
        # Passed over when it was first its turn, so it was never used (see `Released`).
        drawn[item.ordinal] = "~" if item.at_s else "."
    for lent in block.lent:
        drawn[lent.ordinal] = ">"
    for ordinal in block.withheld:
        drawn[ordinal] = "x"
    first = int(block.network.network_address)
    for network in reserved:
        if not network.overlaps(block.network):
            continue
        low = max(0, int(network.network_address) - first)
        high = min(block.size, int(network.broadcast_address) - first + 1)
        for ordinal in range(low, high):
            # What was given out before it was reserved is in use all the same.
            if drawn[ordinal] not in "#>":
                drawn[ordinal] = "x"
    return "".join(drawn)


def _draw_groups(addresses: str, each: int) -> str:
    groups = [addresses[start : start + each] for start in range(0, len(addresses), each)]
    return "".join(_draw_group(group) for group in groups)


def _draw_group(group: str) -> str:
    used = sum(character in "#>" for character in group)
    if len(set(group)) == 1:
        return group[0]
    if used == len(group):
        return "#"
    if used:
        # At least one tenth: a single address must not look like none.
        return str(max(1, 10 * used // len(group)))
    return "~" if "~" in group else "."
