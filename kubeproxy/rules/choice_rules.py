"""The rules that lead a connection from its pool to an endpoint; see the picture in `skeleton`.

A lookup that finds nothing ends its rule, not its chain. That is how a pool of 19 endpoints lives in 24
slots: the rules of `balance-24` draw again when they meet an empty slot. Only one connection in a hundred
million meets twenty in a row; it takes the pool's fallback slot.
"""

import struct
from collections.abc import Iterator

from kubeproxy.rules.layout import AFFINE_POOLS, AFFINITY, MEMBER_ADDRESSES, MEMBERS, MEMBERS_ALIVE, SLOTS
from kubeproxy.rules.pool_value import (
    AFFINE,
    AFFINE_POOL_MASK,
    CLASS_MASK,
    SIZE_MASK,
    TIMEOUT_MASK,
)
from kubeproxy.rules.service_rules import ChainRules, build_chain, build_refuse_chain
from kubeproxy.rules.sizes import (
    AFFINITY_SIZES,
    AFFINITY_TIMEOUTS_S,
    BALANCE_SIZES,
    FALLBACK,
    HASH_SIZES,
    is_full,
)
from nodeplane.datapath.nft import expr
from nodeplane.datapath.nft.expr import Family

CLASSES, TIMEOUTS, AFFINITY_CLASSES = "classes", "timeouts", "affinity-sizes"
"""The maps from parts of a value to chains."""

_DRAWS = 5
_ROUNDS = 4
# Every node has to hash alike.
_SEED = 0x6E706C62
# Beyond a client (`_load_client`), on a border of sixteen bytes.
_LOAD_MEMBER = expr.load_meta("priority", 8)


def build_choice_chains(family: Family) -> Iterator[ChainRules]:
    """Yield the chains that choose."""
    classes = _part(CLASS_MASK) + expr.look_up_verdict(CLASSES, 0)
    is_affine = expr.load_meta("priority", 0) + expr.has_bits(AFFINE, 0)
    yield build_chain(
        "balance",
        "by the pool's class",
        (is_affine + expr.verdict("goto", "affinity"), "clients are remembered"),
        *[(classes, "")] * _ROUNDS,
        (_draw_slot(family, expr.load_random(1, 1, FALLBACK)), "the fallback"),
    )
    for size in BALANCE_SIZES:
        draws = 1 if is_full(size) else _DRAWS
        draw = _draw_slot(family, expr.load_random(size, 1))
        yield build_chain(balance_name(size), f"one of {size} slots", *[(draw, "by chance")] * draws)
    words = expr.ADDRESS_BYTES[family] // 4
    client = expr.load_address(family, "saddr", 8)
    for size in HASH_SIZES:
        by_source = client + expr.load_hash(8, 4 * words, size, _SEED, 1)
        yield build_chain(
            source_hash_name(size),
            f"one of {size} slots",
            (_draw_slot(family, by_source), "by the client's address"),
        )
    for size in HASH_SIZES:
        flow = client + expr.load_source_port(8 + words) + expr.load_hash(8, 4 * words + 4, size, _SEED, 1)
        yield build_chain(
            flow_hash_name(size),
            f"one of {size} slots",
            (_draw_slot(family, flow), "by the client's address and port"),
        )
    yield build_refuse_chain(family)
    yield from _affinity_chains(family)


def _affinity_chains(family: Family) -> Iterator[ChainRules]:
    yield from _keep_chains(family)
    yield from _recall_chains(family)
    yield from _member_chains()


def _keep_chains(family: Family) -> Iterator[ChainRules]:
    """Yield what leads a client to its endpoint, and remembers it."""
    yield build_chain(
        "affinity", "by the time-out", (_part(TIMEOUT_MASK) + expr.look_up_verdict(TIMEOUTS, 0), "")
    )
    to_member = (
        expr.load_meta("priority", 0)
        + expr.look_up(MEMBER_ADDRESSES, key=0, value=0)
        + _reset_priority()
        + expr.translate_destination(family, address=0, port=expr.ADDRESS_BYTES[family] // 4)
    )
    for timeout_s in AFFINITY_TIMEOUTS_S:
        keep = _load_client(family) + _LOAD_MEMBER + expr.change_element("update", AFFINITY, 0, 8, timeout_s)
        yield build_chain(
            keep_name(timeout_s),
            f"clients come back to their endpoint within {timeout_s} s",
            (expr.verdict("jump", "recall"), ""),
            (keep, "remembered"),
            (to_member, "to its endpoint"),
        )


def _recall_chains(family: Family) -> Iterator[ChainRules]:
    """Yield what finds the endpoint that a client had, if it is in use still."""
    client = _load_client(family)
    yield build_chain(
        "recall",
        "which endpoint did the client have?",
        (
            client
            + expr.look_up(AFFINITY, key=0, value=0)
            + expr.set_meta("priority", 0)
            + expr.verdict("goto", "check"),
            "the client has been here",
        ),
        (expr.verdict("goto", "choose"), "a new client"),
    )
    forget = client + _LOAD_MEMBER + expr.change_element("delete", AFFINITY, 0, 8)
    pool = expr.load_meta("priority", 0) + expr.mask(AFFINE_POOL_MASK, 0)
    yield build_chain(
        "check",
        "is it still there?",
        (
            expr.load_meta("priority", 0) + expr.in_set(MEMBERS_ALIVE, 0) + expr.verdict("return"),
            "its endpoint is in use",
        ),
        (forget, "its endpoint is gone: forgotten"),
        (
            pool + expr.look_up(AFFINE_POOLS, key=0, value=0) + expr.set_meta("priority", 0),
            "back to the pool",
        ),
        (expr.verdict("goto", "choose"), ""),
    )


def _member_chains() -> Iterator[ChainRules]:
    """Yield what draws an endpoint for a new client."""
    sizes = _part(SIZE_MASK) + expr.look_up_verdict(AFFINITY_CLASSES, 0)
    is_chosen = _part(AFFINE) + expr.compare("==", bytes(4), 0)
    yield build_chain(
        "choose",
        "by the pool's size",
        *[(sizes, ""), (is_chosen + expr.verdict("return"), "chosen")] * _ROUNDS,
        (_draw_member(expr.load_random(1, 1, FALLBACK)), "the fallback"),
    )
    for size in AFFINITY_SIZES:
        draw = _draw_member(expr.load_random(size, 1)) + expr.verdict("return")
        yield build_chain(
            draw_name(size), f"one of {size} slots", *[(draw, "by chance")] * (1 if size == 1 else _DRAWS)
        )


def balance_name(size: int) -> str:
    """Return the name of the chain that draws from so many slots."""
    return f"balance-{size}"


def source_hash_name(size: int) -> str:
    """Return the name of the chain that chooses from so many slots by the client's address."""
    return f"source-hash-{size}"


def flow_hash_name(size: int) -> str:
    """Return the name of the chain that chooses from so many slots by the client's address and port."""
    return f"flow-hash-{size}"


def keep_name(timeout_s: int) -> str:
    """Return the name of the chain that remembers clients for so long."""
    return f"keep-{timeout_s}"


def draw_name(size: int) -> str:
    """Return the name of the chain that draws a member from so many slots."""
    return f"draw-{size}"


def _load_client(family: Family) -> bytes:
    """Load a client of a pool, as `affinity` has it, into the registers from 0 on."""
    words = expr.ADDRESS_BYTES[family] // 4
    return (
        expr.load_address(family, "saddr", 0)
        + expr.load_meta("priority", words)
        + expr.mask(AFFINE_POOL_MASK, words)
    )


def _draw_slot(family: Family, index: bytes) -> bytes:
    """Translate to a slot of the packet's pool, whose index `index` loads into register 1."""
    return (
        expr.load_meta("priority", 0)
        + index
        + expr.look_up(SLOTS, key=0, value=0)
        + _reset_priority()
        + expr.translate_destination(family, address=0, port=expr.ADDRESS_BYTES[family] // 4)
    )


def _draw_member(index: bytes) -> bytes:
    return (
        expr.load_meta("priority", 0)
        + index
        + expr.look_up(MEMBERS, key=0, value=0)
        + expr.set_meta("priority", 0)
    )


def _reset_priority() -> bytes:
    return expr.load_constant(struct.pack("=I", 0), 8) + expr.set_meta("priority", 8)


def _part(mask: int) -> bytes:
    return expr.load_meta("priority", 0) + expr.mask(mask, 0)
