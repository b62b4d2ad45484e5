"""Which pools a request may have its addresses from."""

from typing import Any

import msgspec
import pytest

from ipam.model import Pool
from ipam.pool_choice import build_slots, usable
from tests.ipam.values import network, request

FOUR = Pool("four", network("10.0.0.0/24"), 26)
SIX = Pool("six", network("fd00::/120"), 122)
OFF = Pool("off", network("fd01::/120"), 122, disabled=True)
EAST = Pool("east", network("10.5.0.0/24"), 26, node_selector="zone=east")
RED = Pool("red", network("10.6.0.0/24"), 26, namespace_selector="team=red")
SIX_RED = msgspec.structs.replace(SIX, namespace_selector="team=red")


@pytest.mark.parametrize(
    ("pools", "fields", "expected"),
    [
        pytest.param((FOUR,), {}, {"IPv4": "four"}, id="one pool"),
        pytest.param((SIX, FOUR), {}, {"IPv4": "four", "IPv6": "six"}, id="IPv4 first"),
        pytest.param((FOUR, OFF), {}, {"IPv4": "four", "IPv6": ""}, id="a disabled pool asks for its family"),
        pytest.param((FOUR, SIX_RED), {}, {"IPv4": "four"}, id="a pool for others does not"),
        pytest.param(
            (FOUR, SIX_RED), {"families": (4, 6)}, {"IPv4": "four", "IPv6": ""}, id="unless it is asked for"
        ),
        pytest.param(
            (FOUR, EAST, RED), {"node_labels": {"zone": "east"}}, {"IPv4": "four east"}, id="by node"
        ),
        pytest.param(
            (FOUR, EAST, RED), {"namespace_labels": {"team": "red"}}, {"IPv4": "four red"}, id="by namespace"
        ),
        pytest.param((FOUR, RED), {"use": "tunnel"}, {"IPv4": "four red"}, id="a tunnel has no namespace"),
        pytest.param(
            (FOUR, EAST, RED),
            {"namespace_labels": {"team": "red"}, "ipv4_pools": ("red", "10.0.0.0/24")},
            {"IPv4": "red four"},
            id="in the order that is asked for",
        ),
        pytest.param(
            (FOUR, RED), {"ipv4_pools": ("red",)}, {"IPv4": ""}, id="to ask for a pool does not open it"
        ),
        pytest.param((FOUR, SIX), {"sets": (("six",),)}, {"set six": "six"}, id="a set"),
    ],
)
def test_slots(pools: tuple[Pool, ...], fields: dict[str, Any], expected: dict[str, str]) -> None:
    wish = request(1, **fields)

    slots = build_slots(pools, wish)

    assert {slot.what: " ".join(pool.name for pool in usable(slot, wish)) for slot in slots} == expected
