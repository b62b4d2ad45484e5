"""Which of a node's addresses in pools its tunnels end at, change by change."""

from ipaddress import ip_address, ip_network

import pytest

from cni.routing.tunnel_ends import TunnelEnds
from ipam.model import Address, Mode, Pool
from ipam.watch import Tunnel

A, B, C6 = (Tunnel("n2", pool, ip_address(text)) for pool, text in (
    ("a", "10.244.2.0"), ("b", "10.245.2.0"), ("c", "fd00::2"),
))  # fmt: skip
ALL = {"a": A, "b": B, "c": C6}


def pools(**modes: Mode) -> tuple[Pool, ...]:
    return tuple(Pool(name, ip_network("10.244.0.0/16"), 26, mode=mode) for name, mode in modes.items())


BOTH = pools(a="vxlan", b="vxlan", c="vxlan")


@pytest.mark.parametrize(
    ("changed", "links", "held"),
    [
        pytest.param({}, {}, [A, B, C6], id="nothing"),
        pytest.param({"a": None}, {4: B.address}, [B, C6], id="the one in use goes"),
        pytest.param({"b": None}, {4: A.address}, [A, C6], id="another one goes"),
        pytest.param({"a": None, "b": None}, {4: None}, [C6], id="all of a family go"),
        pytest.param({"x": None}, {}, [A, B, C6], id="one that nobody knew goes"),
        pytest.param({"c": Tunnel("n3", "c", C6.address)}, {6: None}, [A, B], id="it is another node's now"),
    ],
)
def test_changes(
    changed: dict[str, Tunnel | None], links: dict[int, Address | None], held: list[Tunnel]
) -> None:
    ends = TunnelEnds()
    assert set(ends.take(ALL, BOTH)) == {("n2", 4, A.address), ("n2", 6, C6.address)}

    found = {version: address for node, version, address in ends.take(changed, BOTH) if node == "n2"}

    assert (found, ends.held("n2")) == (links, held)


def test_other_pools() -> None:
    """One of a pool that is routed by tunnels comes first."""
    ends = TunnelEnds()
    list(ends.take(ALL, BOTH))

    found = set(ends.choose_again(pools(a="direct", b="vxlan", c="vxlan")))

    assert found == {("n2", 4, B.address), ("n2", 6, C6.address)}
