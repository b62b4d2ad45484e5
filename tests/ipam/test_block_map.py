"""How a block's use is drawn."""

import pytest

from ipam.block_map import draw_block
from ipam.model import Block, Lent, Released
from tests.ipam.values import network


def block(cidr: str, fresh: int = 0, *released: Released, **fields: object) -> Block:
    return Block(network(cidr), "default", "n1", fresh, released, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("drawn", "reserved", "expected"),
    [
        pytest.param(block("10.0.0.0/28"), [], ["................"], id="empty"),
        pytest.param(
            block("10.0.0.0/28", 8, Released(2, 50), Released(3, 0), withheld=(0,), lent=(Lent(7, "n2"),)),
            ["10.0.0.14/31", "10.0.0.4/32", "10.0.0.9/32", "10.9.0.0/24"],
            ["x#~.###>.x....xx"],
            id="each kind",
        ),
        pytest.param(block("10.0.0.0/25", 65), [], ["#" * 64, "#" + "." * 63], id="two lines"),
        pytest.param(
            block("10.0.0.0/22", 6, Released(1, 9), Released(0, 9)),
            [],
            ["55" + "." * 62, "." * 64, "." * 64, "." * 64],
            id="four addresses a character",
        ),
        pytest.param(
            block("10.0.0.0/20", 4096, Released(4095, 9)),
            [],
            ["#" * 64, "#" * 64, "#" * 64, "#" * 63 + "9"],
            id="sixteen addresses a character",
        ),
        pytest.param(
            block("10.0.0.0/20", 1), [], ["1" + "." * 63, *["." * 64] * 3], id="one of sixteen shows"
        ),
        pytest.param(block("fd00::/126", 1), ["fd00::/127"], ["#x.."], id="IPv6, reserved while in use"),
    ],
)
def test_draw(drawn: Block, reserved: list[str], expected: list[str]) -> None:
    assert draw_block(drawn, [network(text) for text in reserved]) == expected
