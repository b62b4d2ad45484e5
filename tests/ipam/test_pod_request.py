"""What one CNI call asks for, in all."""

from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ipam.boot import read_boot_id, read_machine_id
from ipam.config import NetworkConfig, build_supply
from ipam.model import Handle, PodRef
from ipam.pod_request import build_request
from nodeplane import cnispec

OBJECTS = """
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {zone: a}}
---
apiVersion: v1
kind: Namespace
metadata: {name: team, annotations: {cni.projectcalico.org/ipv6pools: '["six"]'}}
---
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: team
  annotations:
    cni.projectcalico.org/ipAddrs: '["10.0.0.7"]'
    cni.projectcalico.org/ipv4pools: '["special"]'
spec: {containers: [{name: a}]}
"""
CALL = cnispec.Request(
    "ADD",
    b"",
    network="net",
    container_id="c1",
    netns="/run/netns/p1",
    interface="eth0",
    args={"K8S_POD_NAMESPACE": "team", "K8S_POD_NAME": "web", "K8S_POD_UID": "u1"},
)


def build(ipam: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return the request as fields, less what each has."""
    config = msgspec.convert({"ipam": ipam, "nodeName": "n1", **fields}, NetworkConfig)
    request = build_request(CALL, config, build_supply(config))
    found = msgspec.structs.asdict(request)
    assert found.pop("now_s") > 1_700_000_000
    assert found.pop("boot_id") == read_boot_id() != ""
    assert found.pop("machine_id") == read_machine_id()
    same = {
        "handle": Handle("c1", "eth0", "n1"),
        "pod": PodRef("team", "web", "u1"),
        "node": "n1",
        "netns": "/run/netns/p1",
        "network": "net",
        "use": "pod",
        "families": (),
    }
    assert {name: found.pop(name) for name in same} == same
    return {name: value for name, value in found.items() if value not in ((), None)}


def test_plain() -> None:
    assert build({"pools": [{"name": "a", "cidr": "10.0.0.0/16"}]}) == {}


def test_the_configuration() -> None:
    fields = {"runtimeConfig": {"ips": ["10.0.0.9"]}}

    assert build({"ipv4_pools": ["a"], "ipv6_pools": ["b"]}, **fields) == {
        "addresses": (ip_address("10.0.0.9"),),
        "ipv4_pools": ("a",),
        "ipv6_pools": ("b",),
    }


def test_ranges() -> None:
    assert build({"subnet": "10.1.0.0/24"}) == {"sets": (("host-local-10.1.0.0-24",),)}


@pytest.mark.parametrize("place", ["ipam", "top"])
def test_kubernetes(place: str, tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(OBJECTS)
    where = {"kubernetes": {"manifests": str(tmp_path)}}
    ipam = {"ipv4_pools": ["a"], **(where if place == "ipam" else {})}

    assert build(ipam, **(where if place == "top" else {})) == {
        "addresses": (ip_address("10.0.0.7"),),
        "ipv4_pools": ("special",),
        "ipv6_pools": ("six",),
        "node_labels": {"zone": "a"},
        "namespace_labels": {"kubernetes.io/metadata.name": "team"},
    }


def test_what_the_runtime_asks_for_goes_first(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(OBJECTS)
    found = build({"kubernetes": {"manifests": str(tmp_path)}}, args={"cni": {"ips": ["10.0.0.9"]}})

    assert found["addresses"] == (ip_address("10.0.0.9"),)
