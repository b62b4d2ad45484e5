"""The sizes that pools come in, and how long clients are remembered: ladders, since rules are constant.

`numgen random mod N` needs its N in the rule, so a pool takes the next size up and leaves some of its slots
empty (docs/adr/0002). Small pools have their exact size. Larger ones are at most nine tenths full, so that
endpoints find a place of their own by their hash and few have to move when one comes or goes, and at least
six tenths, so that few draws meet an empty slot.
"""

from bisect import bisect_left

_EXACT = range(1, 17)
_FULLEST = 0.9

BALANCE_SIZES = (*_EXACT, *(size << shift for shift in range(12) for size in (24, 32)))
"""Slots of a pool that is drawn from by chance."""

AFFINITY_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, *(size << shift for shift in range(9) for size in (24, 32)))
"""Slots of a pool whose clients are remembered."""

HASH_SIZES = (4093, 16381, 65521)
"""Slots of a pool that a hash chooses from: primes, as Maglev's permutations need (Eisenbud et al. 2016).

Few: where a pool changes from one to the next, nearly all its flows move.
"""

FALLBACK = 1 << 16
"""The slot that a connection takes whose draws have all met an empty one; no draw reaches it."""

# The API allows any number of seconds up to a day; what people write is here, the rest waits a little longer.
AFFINITY_TIMEOUTS_S = (
    *(1, 2, 3, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 900, 1200, 1800),
    *(2700, 3600, 5400, 7200, 10800, 14400, 21600, 28800, 43200, 57600, 72000, 86400),
)

# An endpoint's share of them is right to one slot.
_SLOTS_PER_ENDPOINT, _SLOTS_PER_SHARE = 100, 10


def is_dense(size: int) -> bool:
    """Say whether a pool of this size fills its slots from the first one on."""
    return size <= _EXACT[-1]


# How many slots of each size are in use at most.
_BALANCE_LIMITS, _AFFINITY_LIMITS = (
    [size if is_dense(size) else int(size * _FULLEST) for size in sizes]
    for sizes in (BALANCE_SIZES, AFFINITY_SIZES)
)
MAX_SLOTS = _BALANCE_LIMITS[-1]
MAX_MEMBERS = _AFFINITY_LIMITS[-1]


def is_full(size: int) -> bool:
    """Say whether a pool of this size, drawn from by chance, has no empty slot."""
    return size in _EXACT


def balance_size(slots: int) -> int:
    """Return the place in BALANCE_SIZES of a pool that needs so many slots, at most MAX_SLOTS."""
    return _place(_BALANCE_LIMITS, slots)


def affinity_size(slots: int) -> int:
    """Return the place in AFFINITY_SIZES of a pool that needs so many slots, at most MAX_MEMBERS."""
    return _place(_AFFINITY_LIMITS, slots)


def hash_size(endpoints: int, shares: int) -> int:
    """Return the place in HASH_SIZES for so many endpoints that have so many shares, as far as there are."""
    wanted = max(endpoints * _SLOTS_PER_ENDPOINT, shares * _SLOTS_PER_SHARE)
    return next((place for place, size in enumerate(HASH_SIZES) if size >= wanted), len(HASH_SIZES) - 1)


def affinity_timeout(seconds: int) -> int:
    """Return the place in AFFINITY_TIMEOUTS_S of the shortest time that is long enough."""
    last = len(AFFINITY_TIMEOUTS_S) - 1
    return next((place for place, time_s in enumerate(AFFINITY_TIMEOUTS_S) if time_s >= seconds), last)


def _place(limits: list[int], slots: int) -> int:
    place = bisect_left(limits, slots)
    if place == len(limits):
        raise ValueError(f"a pool has at most {limits[-1]} slots in use, asked for {slots}")
    return place
