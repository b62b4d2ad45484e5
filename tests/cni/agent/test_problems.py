"""What readiness waits for until an operator has put it right."""

from ipaddress import ip_network

import pytest

from cni.agent.problems import find_problems
from ipam.model import Pool

DIRECT, BGP = (Pool(mode, ip_network("10.1.0.0/16"), 26, mode=mode) for mode in ("direct", "bgp"))
ON_LINK = Pool("link", ip_network("10.2.0.0/16"), 26, mode="bgp", on_link=True)


@pytest.mark.parametrize(
    ("pools", "is_in_cluster", "has_bgp", "expected"),
    [
        pytest.param((DIRECT, ON_LINK), True, False, {}, id="none"),
        pytest.param((BGP,), True, True, {}, id="none, with BGP"),
        pytest.param(
            (),
            False,
            False,
            {"node": "no Node has this --node-name, all stays as it is until one has node=n1"},
            id="a wrong name",
        ),
        pytest.param(
            (DIRECT, BGP),
            True,
            False,
            {"bgp section": "pools of mode bgp, and no bgp: in the agent's configuration pools=bgp"},
            id="a pool that nobody announces",
        ),
    ],
)
def test_find_problems(
    pools: tuple[Pool, ...], is_in_cluster: bool, has_bgp: bool, expected: dict[str, str]
) -> None:
    assert find_problems("n1", pools, is_in_cluster=is_in_cluster, has_bgp=has_bgp) == expected
