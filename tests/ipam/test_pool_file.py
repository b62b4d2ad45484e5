"""Files of pools, ours and Calico's."""

from pathlib import Path

import pytest

from ipam.model import Mode, Pool
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
  ipipMode: Never
  vxlanMode: CrossSubnet
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


# As `kubectl get ippool -o yaml` prints it: every field that Calico has.
EVERYTHING = """
apiVersion: crd.projectcalico.org/v1
kind: IPPool
metadata: {name: all, uid: 0b7e, resourceVersion: "7", creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  allowedUses: [Workload, Tunnel]
  assignmentMode: Automatic
  blockSize: 28
  cidr: 10.9.0.0/16
  disableBGPExport: true
  disabled: false
  ipipMode: Never
  namespaceSelector: all()
  natOutgoing: false
  nodeSelector: all()
  vxlanMode: CrossSubnet
status: {}
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "pools:\n- {name: a, cidr: 10.0.0.0/16, reserved: [10.0.0.1]}\n"
            "- {name: b, cidr: 'fd00::/64', natOutgoing: true}\n",
            (
                Pool("a", network("10.0.0.0/16"), 26, (network("10.0.0.1/32"),)),
                Pool("b", network("fd00::/64"), 122, nat_outgoing=True),
            ),
            id="ours",
        ),
        pytest.param(
            CALICO,
            (
                Pool(
                    "default-ipv4-ippool",
                    network("192.168.0.0/16"),
                    27,
                    RESERVED,
                    nat_outgoing=True,
                    mode="cross-subnet",
                ),
                Pool(
                    "six",
                    network("fd00::/64"),
                    122,
                    disabled=True,
                    node_selector="zone == 'b'",
                    namespace_selector="has(team)",
                    mode="bgp",
                ),
            ),
            id="Calico's",
        ),
        pytest.param(
            EVERYTHING,
            (Pool("all", network("10.9.0.0/16"), 28, mode="cross-subnet"),),
            id="all that Calico's have",
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


@pytest.mark.parametrize(
    ("spec", "mode"),
    [
        pytest.param("{cidr: 10.0.0.0/16}", "bgp", id="Calico's default"),
        pytest.param("{cidr: 10.0.0.0/16, vxlanMode: Never, ipipMode: Never}", "bgp", id="written out"),
        pytest.param("{cidr: 10.0.0.0/16, vxlanMode: Always}", "vxlan", id="always"),
        pytest.param("{cidr: 'fd00::/64', vxlanMode: CrossSubnet}", "cross-subnet", id="across subnets"),
    ],
)
def test_calicos_modes(spec: str, mode: Mode, tmp_path: Path) -> None:
    file = tmp_path / "pools.yaml"
    file.write_text(calico(spec))

    assert [pool.mode for pool in read_pool_file(file)] == [mode]


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
            calico("{cidr: 10.0.0.0/16, blocksize: 27}"),
            "FILE:4: spec.blocksize: expected no such field, got '27'",
            id="misspelt",
        ),
        pytest.param(
            calico("{cidr: 10.0.0.0/16}") + "sepc: {}\n",
            "FILE:5: sepc: expected no such field",
            id="misspelt, outside",
        ),
        pytest.param(
            calico("{cidr: 10.0.0.0/16, ipip: {enabled: true}}"),
            "FILE:4: spec.ipip: expected no such field",
            id="of the first version",
        ),
        pytest.param(
            calico("{cidr: 10.0.0.0/16, vxlanMode: always}"),
            "FILE:4: spec.vxlanMode: expected one of Always, CrossSubnet, Never, got 'always'",
            id="a mode that is none",
        ),
        pytest.param(
            "apiVersion: projectcalico.org/v3\nkind: IPReservation\nmetadata: {name: a}\n"
            "spec: {reservedCidrs: [10.0.0.0/30]}\n",
            "FILE:4: spec.reservedCidrs: expected no such field",
            id="a reservation's field",
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
            calico("{cidr: 10.0.0.0/16, ipipMode: CrossSubnet}"),
            "FILE:4: spec.ipipMode: expected Never: there is no IPIP here, vxlanMode has the same choices, "
            "got 'CrossSubnet'",
            id="IPIP",
        ),
        pytest.param(
            calico("{cidr: 10.0.0.0/16, vxlanMode: Sometimes}"),
            "FILE:4: spec.vxlanMode: expected one of Always, CrossSubnet, Never, got 'Sometimes'",
            id="VXLAN",
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
