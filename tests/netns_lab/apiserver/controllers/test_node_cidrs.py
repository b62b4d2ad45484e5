"""Each node gets the first range that nobody has, of each pool."""

from ipaddress import ip_network

import pytest

from netns_lab.apiserver.controllers.node_cidrs import assign_cidrs


@pytest.mark.parametrize(
    ("names", "held", "pools", "expected"),
    [
        pytest.param(
            ["a", "b"],
            {},
            ["10.244.0.0/16"],
            {"a": ("10.244.0.0/24",), "b": ("10.244.1.0/24",)},
            id="in order",
        ),
        pytest.param(
            ["b"],
            {"a": ("10.244.0.0/24",), "c": ("10.244.2.0/24",)},
            ["10.244.0.0/16"],
            {"b": ("10.244.1.0/24",)},
            id="a gap",
        ),
        pytest.param(
            ["b"],
            {"a": ("10.244.0.0/23",)},
            ["10.244.0.0/16"],
            {"b": ("10.244.2.0/24",)},
            id="beside another size",
        ),
        pytest.param(
            ["a"],
            {},
            ["10.244.0.0/16", "fd00:1::/48"],
            {"a": ("10.244.0.0/24", "fd00:1::/64")},
            id="both families",
        ),
        pytest.param(["b"], {"a": ("10.244.0.0/24",)}, ["10.244.0.0/24"], {}, id="none left"),
        pytest.param(["a"], {}, [], {}, id="no pools"),
    ],
)
def test_assign(
    names: list[str], held: dict[str, tuple[str, ...]], pools: list[str], expected: dict[str, tuple[str, ...]]
) -> None:
    assert assign_cidrs(names, held, [ip_network(pool) for pool in pools]) == expected
