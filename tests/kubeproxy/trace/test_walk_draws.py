"""What chance and hashes decide: outcomes with their shares."""

import struct
from fractions import Fraction

import msgspec
import pytest

from kubeproxy.trace.jhash import choose
from nodeplane.datapath.nft import expr
from nodeplane.datapath.nft.listing import ListedMap
from tests.kubeproxy.trace.walked import (
    ACCEPT,
    CLIENT,
    DROP,
    OTHER,
    PACKET,
    POD,
    POOL,
    PREROUTING,
    TO_FOUND,
    TO_POD,
    chain,
    number,
    results,
    walk,
)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        pytest.param(
            expr.load_random(3, 0),
            {"10.244.0.1:8080": Fraction(2, 3), "10.244.0.2:8080": Fraction(1, 3)},
            id="full",
        ),
        pytest.param(
            expr.load_random(4, 0),
            {"10.244.0.1:8080": Fraction(5, 8), "10.244.0.2:8080": Fraction(5, 16), "drop": Fraction(1, 16)},
            id="an empty slot, twice",
        ),
        pytest.param(expr.load_random(1, 0, 9), {"10.244.0.2:8080": Fraction(1)}, id="an offset"),
        pytest.param(expr.load_random(4, 0, 10), {"drop": Fraction(1)}, id="nothing there"),
        pytest.param(
            expr.load_random(3, 0) + expr.mask(1, 0),
            {"10.244.0.1:8080": Fraction(2, 3), "10.244.0.2:8080": Fraction(1, 3)},
            id="more than looked up",
        ),
        pytest.param(expr.load_random(1 << 20, 0) + expr.mask(1, 0), {"unclear": Fraction(1)}, id="too many"),
        pytest.param(
            expr.load_source_port(4) + expr.load_hash(4, 4, 3, 1, 0),
            {"10.244.0.1:8080": Fraction(2, 3), "10.244.0.2:8080": Fraction(1, 3)},
            id="a hash of what is not known",
        ),
    ],
)
def test_draws(index: bytes, expected: dict[str, Fraction]) -> None:
    """All numbers at once; who meets an empty slot goes on to the next rule."""
    told = walk(chain(index + TO_FOUND, index + TO_FOUND, DROP, hook=PREROUTING), {"pool": POOL})

    assert results(told) == expected


def test_draw_from_a_verdict_map() -> None:
    """kube-proxy's own layout: a number to a chain."""
    verdicts = ListedMap(
        ("mark",),
        ("verdict",),
        key_bytes=4,
        elements={number(0): expr.verdict_data("goto", "a"), number(1): expr.verdict_data("drop")},
    )
    rules = chain(expr.load_random(3, 0) + expr.look_up_verdict("v", 0), ACCEPT, hook=PREROUTING)
    third = Fraction(1, 3)

    told = walk({"base": rules, "a": chain(TO_POD)}, {"v": verdicts})
    assert results(told) == {"10.244.0.1:8080": third, "drop": third, "untouched": third}


def test_large_draws_merge() -> None:
    """Thousands of slots, drawn from again and again, are one look each: probabilities stay exact."""
    elements = {number(slot): (POD if slot % 2 else OTHER) for slot in range(0, 40000, 5)}
    pool = msgspec.structs.replace(POOL, elements=elements)
    draw = expr.load_random(40000, 0) + TO_FOUND

    told = walk(chain(*[draw] * 20, DROP, hook=PREROUTING), {"pool": pool})
    missed = Fraction(4, 5) ** 20
    assert results(told) == {
        "10.244.0.1:8080": (1 - missed) / 2,
        "10.244.0.2:8080": (1 - missed) / 2,
        "drop": missed,
    }
    assert len(told.steps) == 2


@pytest.mark.parametrize("port", [1024, 40000])
def test_hash(port: int) -> None:
    """With the client's port the choice is the kernel's."""
    index = expr.load_address("ip", "saddr", 8) + expr.load_source_port(9) + expr.load_hash(8, 8, 2, 77, 0)
    packet = msgspec.structs.replace(PACKET, source_port=port)
    slot = choose(CLIENT.packed + struct.pack(">H2x", port), 77, 2)

    told = walk(chain(index + TO_FOUND, hook=PREROUTING), {"pool": POOL}, packet)
    assert results(told) == {f"10.244.0.{slot + 1}:8080": 1}


def test_draw_into_ranges() -> None:
    """A draw that is looked up in ranges is followed number by number."""
    low, high = struct.pack("=I", 0), struct.pack("=I", 1)
    ranges = ListedMap(("mark",), key_bytes=4, field_bytes=(4,), elements={low + high: b""})
    rule = expr.load_random(4, 0) + expr.in_set("ranges", 0) + DROP

    assert results(walk(chain(rule, hook=PREROUTING), {"ranges": ranges})) == {
        "drop": Fraction(1, 2),
        "untouched": Fraction(1, 2),
    }
