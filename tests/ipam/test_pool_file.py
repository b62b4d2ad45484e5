"""Files of pools, ours and Calico's."""

from pathlib import Path

import pytest

from ipam.model import Pool
from ipam.pool_file import read_pool_file
from nodeplane.errors import ConfigError
from tests.ipam.values import network

CALICO = """
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: default-ipv4-ippool}
spec:
  cidr: 192.168.0.0/16
  blockSize: 27
  ipipMode: Always
  natOutgoing: true
  nodeSelector: all()
  allowedUses: [Workload, Tunnel]
---
apiVersion: crd.projectcalico.org/v1
kind: IPPoolList
items:
- metadata: {name: six}
  spec: {cidr: "fd00::/64", disabled: true, nodeSelector: "zone == 'b'", namespaceSelector: has(team)}
---
apiVersion: projectcalico.org/v3
kind: IPReservation
metadata: {name: routers}
spec:
  reservedCIDRs: [192.168.0.0/30, 192.168.0.1/32, 192.168.9.9/32, 10.0.0.0/8]
"""
RESERVED = (network("192.168.0.0/30"), network("192.168.9.9/32"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "pools:\n- {name: a, cidr: 10.0.0.0/16, reserved: [10.0.0.1]}\n- {name: b, cidr: 'fd00::/64'}\n",
            (
                Pool("a", network("10.0.0.0/16"), 26, (network("10.0.0.1/32"),)),
                Pool("b", network("fd00::/64"), 122),
            ),
            id="ours",
        ),
        pytest.param(
            CALICO,
            (
                Pool("default-ipv4-ippool", network("192.168.0.0/16"), 27, RESERVED),
                Pool(
                    "six",
                    network("fd00::/64"),
                    122,
                    disabled=True,
                    node_selector="zone == 'b'",
                    namespace_selector="has(team)",
                ),
            ),
            id="Calico's",
        ),
    ],
)
def test_read(text: str, expected: tuple[Pool, ...], tmp_path: Path) -> None:
    file = tmp_path / "pools.yaml"
    file.write_text(text)

    assert read_pool_file(file) == expected


def test_the_example() -> None:
    example = Path(__file__).parents[2] / "deploy/cni/pools.yaml"

    assert [pool.name for pool in read_pool_file(example)] == [
        "default",
        "default-ipv6",
        "edge",
        "from-calico",
    ]


def calico(spec: str) -> str:
    return f"apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {{name: a}}\nspec: {spec}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "FILE: expected at least one pool", id="empty"),
        pytest.param(
            "- a\n", "FILE:1: expected a mapping: `pools:`, an IPPool or an IPReservation", id="a list"
        ),
        pytest.param("pool: 1\n", "FILE:1: pool: expected no such field, got '1'", id="another field"),
        pytest.param("pools:\n- {name: a}\n", "FILE:2: pools[0].cidr: expected a value", id="no network"),
        pytest.param(
            "pools:\n- {name: a, cidr: 10.0.0.0/16}\n- {name: b, cidr: 10.0.1.0/24}\n",
            "FILE:1: pools[1].cidr: expected pools apart, 10.0.1.0/24 overlaps 10.0.0.0/16",
            id="overlap",
        ),
        pytest.param(
            "---\n" + calico("{cidr: 10.0.0.0/33}"),
            "FILE:2: pools[0].cidr: expected a network: '10.0.0.0/33' does not appear to be an IPv4 or IPv6 "
            "network",
            id="Calico's network",
        ),
        pytest.param(
            calico("{cidr: 10.0.0.0/16, assignmentMode: Manual}"),
            "FILE:4: spec.assignmentMode: expected Automatic, got 'Manual'",
            id="by hand",
        ),
        pytest.param(
            calico("{cidr: 10.0.0.0/16, allowedUses: [Tunnel]}"),
            "FILE:4: spec.allowedUses: expected Workload among them",
            id="not for pods",
        ),
        pytest.param(
            "apiVersion: v1\nkind: IPPool\n",
            "FILE:1: apiVersion: expected projectcalico.org/v3 or crd.projectcalico.org/v1, got 'v1'",
            id="version",
        ),
        pytest.param(
            "apiVersion: projectcalico.org/v3\nkind: BGPPeer\n",
            "FILE:2: kind: expected IPPool or IPReservation, got 'BGPPeer'",
            id="kind",
        ),
    ],
)
def test_refuse(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "pools.yaml"
    file.write_text(text)

    with pytest.raises(ConfigError) as caught:
        read_pool_file(file)
    assert str(caught.value) == message.replace("FILE", str(file))
