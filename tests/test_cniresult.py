"""Results as each version of the CNI SPEC has them."""

import json
import os
import subprocess
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest

from nodeplane.cniresult import Dns, Interface, Ip, Result, Route, render_result

HOST_LOCAL = Path("/usr/lib/cni/host-local")

EMPTY = Result()
FULL = Result(
    interfaces=(
        Interface("npl1", mac="ee:ee:ee:ee:ee:ee"),
        Interface(
            "eth0", mac="02:00:00:00:00:01", mtu_bytes=1450, sandbox="/run/netns/p", pci_id="0000:00:1f.6"
        ),
    ),
    ips=(
        Ip(ip_interface("10.0.0.1/32"), ip_address("169.254.1.1"), interface=0),
        Ip(ip_interface("10.0.0.2/32"), interface=1),
        Ip(ip_interface("fd00::1/128")),
    ),
    routes=(
        Route(
            ip_network("0.0.0.0/0"), ip_address("169.254.1.1"), mtu_bytes=1400, priority=5, table=0, scope=0
        ),
        Route(ip_network("fd00::/8")),
    ),
    dns=Dns(nameservers=("10.96.0.10",), domain="cluster.local", search=("a.b",), options=("ndots:5",)),
)
DNS = {"nameservers": ["10.96.0.10"], "domain": "cluster.local", "search": ["a.b"], "options": ["ndots:5"]}
ROUTES: list[dict[str, Any]] = [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}, {"dst": "fd00::/8"}]
INTERFACES: list[dict[str, Any]] = [
    {"name": "npl1", "mac": "ee:ee:ee:ee:ee:ee"},
    {"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/p"},
]
IPS: list[dict[str, Any]] = [
    {"address": "10.0.0.1/32", "gateway": "169.254.1.1", "interface": 0},
    {"address": "10.0.0.2/32", "interface": 1},
    {"address": "fd00::1/128"},
]
V1_1: dict[str, Any] = {
    "interfaces": [INTERFACES[0], {**INTERFACES[1], "mtu": 1450, "pciID": "0000:00:1f.6"}],
    "ips": IPS,
    "routes": [{**ROUTES[0], "mtu": 1400, "priority": 5, "table": 0, "scope": 0}, ROUTES[1]],
    "dns": DNS,
}
V1_0: dict[str, Any] = {"interfaces": INTERFACES, "ips": IPS, "routes": ROUTES, "dns": DNS}
V0_3 = {**V1_0, "ips": [{**ip, "version": family} for ip, family in zip(IPS, "446", strict=True)]}
V0_2 = {
    "ip4": {"ip": "10.0.0.1/32", "gateway": "169.254.1.1", "routes": [ROUTES[0]]},
    "ip6": {"ip": "fd00::1/128", "routes": [ROUTES[1]]},
    "dns": DNS,
}


@pytest.mark.parametrize(
    ("result", "version", "expected"),
    [
        pytest.param(FULL, "1.1.0", V1_1, id="1.1.0"),
        pytest.param(FULL, "1.0.0", V1_0, id="1.0.0 knows no MTU and no route metrics"),
        pytest.param(FULL, "0.4.0", V0_3, id="0.4.0 wants the family of each address"),
        pytest.param(FULL, "0.3.1", V0_3, id="0.3.1"),
        pytest.param(FULL, "0.3.0", V0_3, id="0.3.0"),
        pytest.param(FULL, "0.2.0", V0_2, id="0.2.0 has one address of each family"),
        pytest.param(FULL, "0.1.0", V0_2, id="0.1.0"),
        pytest.param(EMPTY, "1.1.0", {}, id="empty 1.1.0"),
        pytest.param(EMPTY, "0.2.0", {}, id="empty 0.2.0"),
    ],
)
def test_render_result(result: Result, version: str, expected: dict[str, Any]) -> None:
    assert json.loads(render_result(result, version)) == {"cniVersion": version, **expected}


@pytest.mark.parametrize("version", ["0.2.0", "0.3.1", "0.4.0", "1.0.0"])
@pytest.mark.skipif(not HOST_LOCAL.exists(), reason="Debian's containernetworking-plugins is not installed")
def test_the_go_library_renders_the_same(version: str, tmp_path: Path) -> None:
    """The reference implementation is the oracle; save for `dns`, which it prints when empty."""
    ipam = {
        "type": "host-local",
        "dataDir": str(tmp_path),
        "ranges": [[{"subnet": "10.9.0.0/24"}], [{"subnet": "fd00::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0", "gw": "fd00::1"}],
    }
    theirs = subprocess.run(
        [HOST_LOCAL],
        input=json.dumps({"cniVersion": version, "name": "n", "ipam": ipam}).encode(),
        env={
            **os.environ,
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": "c",
            "CNI_NETNS": "/n",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/",
        },
        capture_output=True,
        check=True,
    )
    ours = Result(
        ips=(
            Ip(ip_interface("10.9.0.2/24"), ip_address("10.9.0.1")),
            Ip(ip_interface("fd00::2/64"), ip_address("fd00::1")),
        ),
        routes=(Route(ip_network("0.0.0.0/0")), Route(ip_network("::/0"), ip_address("fd00::1"))),
    )

    assert json.loads(theirs.stdout) == {**json.loads(render_result(ours, version)), "dns": {}}
