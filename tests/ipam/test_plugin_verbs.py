"""CHECK, GC and STATUS of nodeplane-ipam, and what else a configuration can ask of ADD."""

import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from ipam.datastore import open_datastore
from ipam.ledger import LedgerReader
from tests.ipam.test_plugin import ADD, DEL, PLACE, POOL, added, call, config, failed

CHECK = {**ADD, "CNI_COMMAND": "CHECK"}
GC = {"CNI_COMMAND": "GC", "CNI_PATH": "/nowhere"}
STATUS = {"CNI_COMMAND": "STATUS", "CNI_PATH": "/nowhere"}
LARGE = {"name": "default", "cidr": "10.0.0.0/26"}
SIX = {"name": "six", "cidr": "fd00::/122"}
DONE = (0, None, "")


def with_ipam(directory: Path, **fields: Any) -> dict[str, Any]:
    """Build a configuration with these fields in its `ipam` section."""
    section = {"type": "nodeplane-ipam", "datastore": f"sqlite://{directory}/ipam.sqlite", **fields}
    return config(directory, ipam=section)


def container(number: int) -> dict[str, str]:
    return {**ADD, "CNI_CONTAINERID": f"c{number}"}


def held(net: dict[str, Any]) -> list[str]:
    """Return the addresses in use."""
    with open_datastore(net["ipam"]["datastore"]) as datastore:
        return [str(item.address) for item in datastore.read(LedgerReader.allocations)]


def test_both_families(tmp_path: Path) -> None:
    """One request, one address of each; both or neither."""
    net = with_ipam(tmp_path, pools=[POOL, SIX])
    both = {"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.0/32"}, {"address": "fd00::/128"}]}

    assert call(ADD, net) == (0, both, "")
    assert call(ADD, net) == (0, both, "")
    call(container(2), net)
    code, error, _ = call(container(3), net)
    assert (code, error["code"]) == (1, 11)
    assert held(net) == ["10.0.0.0", "10.0.0.1", "fd00::", "fd00::1"]
    assert call(DEL, net) == DONE
    assert held(net) == ["10.0.0.1", "fd00::1"]


def test_old_versions_have_room_for_one_of_each_family(tmp_path: Path) -> None:
    net = {**with_ipam(tmp_path, pools=[POOL, SIX], gateway="10.0.9.1"), "cniVersion": "0.2.0"}

    assert call(ADD, net)[1] == {
        "cniVersion": "0.2.0",
        "ip4": {"ip": "10.0.0.0/32", "gateway": "10.0.9.1"},
        "ip6": {"ip": "fd00::/128"},
    }


def test_what_goes_with_the_address(tmp_path: Path) -> None:
    """Gateway, routes and the resolver, as host-local has them."""
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.53\nsearch a.example\n")
    net = with_ipam(
        tmp_path,
        pools=[LARGE],
        gateway="10.0.0.0",
        routes=[{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16", "gw": "10.0.0.9", "mtu": 1400}],
        resolvConf=f"{tmp_path}/resolv.conf",
    )

    assert call(ADD, net)[1] == {
        "cniVersion": "1.1.0",
        # The gateway itself is never a pod's.
        "ips": [{"address": "10.0.0.1/32", "gateway": "10.0.0.0"}],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16", "gw": "10.0.0.9", "mtu": 1400}],
        "dns": {"nameservers": ["192.0.2.53"], "search": ["a.example"]},
    }


@pytest.mark.parametrize(
    ("environ", "fields"),
    [
        pytest.param({"CNI_ARGS": "IP=10.0.0.7"}, {}, id="CNI_ARGS"),
        pytest.param({}, {"args": {"cni": {"ips": ["10.0.0.7"]}}}, id="args.cni.ips"),
        pytest.param({}, {"runtimeConfig": {"ips": ["10.0.0.7/26"]}}, id="the ips capability"),
    ],
)
def test_a_wanted_address(environ: dict[str, str], fields: dict[str, Any], tmp_path: Path) -> None:
    net = {**with_ipam(tmp_path, pools=[LARGE]), **fields}

    assert call({**ADD, **environ}, net) == added("10.0.0.7/32")
    code, error, _ = call({**container(2), **environ}, net)
    assert (code, error["code"]) == (1, 11)
    assert "10.0.0.7" in error["msg"]
    assert "c1/eth0" in error["msg"]


def test_a_wanted_address_of_no_pool(tmp_path: Path) -> None:
    net = with_ipam(tmp_path, pools=[LARGE])

    code, error, _ = call({**ADD, "CNI_ARGS": "IP=10.9.0.7"}, net)

    assert (code, error["code"]) == (1, 7)
    assert "10.9.0.7" in error["msg"]


def test_a_pods_annotations(tmp_path: Path) -> None:
    """Looked up where the configuration says; a pod that is not known waits."""
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    net = with_ipam(tmp_path, pools=[LARGE], kubernetes={"manifests": str(manifests)})

    assert call(ADD, net) == failed(11, "pod default/web is not in the cluster: its annotations matter")
    (manifests / "web.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n"
        "  annotations: {nodeplane.io/ip-addresses: 10.0.0.9}\nspec: {containers: [{name: a}]}\n"
    )
    assert call(ADD, net) == added("10.0.0.9/32")


RANGES = {
    "ranges": [
        [{"subnet": "10.1.0.0/29"}],
        [{"subnet": "10.2.0.0/24", "rangeStart": "10.2.0.9"}],
        [{"subnet": "fd00::/64", "gateway": "fe80::1"}],
    ]
}


def test_ranges_of_host_local(tmp_path: Path) -> None:
    """An address of each set, with its subnet's length and gateway, as host-local answers."""
    net = with_ipam(tmp_path, **RANGES, dataDir="/var/lib/cni")
    url = net["ipam"]["datastore"]
    note = f"nodeplane-ipam: ipam.dataDir is host-local's and not used: addresses are in {url}"

    code, first, stderr = call(ADD, net)

    assert (code, stderr) == (0, note + "\n")
    assert [(ip["address"].rpartition("/")[2], ip["gateway"]) for ip in first["ips"]] == [
        ("29", "10.1.0.1"),
        ("24", "10.2.0.1"),
        ("64", "fe80::1"),
    ]
    addresses = [ip_address(ip["address"].partition("/")[0]) for ip in first["ips"]]
    assert 2 <= int(addresses[0]) - int(ip_address("10.1.0.0")) <= 6
    assert 9 <= int(addresses[1]) - int(ip_address("10.2.0.0")) <= 254
    assert call(ADD, net)[1] == first
    # A /29 has eight addresses, less its own, the broadcast address and the gateway.
    for number in range(2, 6):
        assert call(container(number), net)[0] == 0
    code, error, _ = call(container(6), net)
    assert (code, error["code"]) == (1, 11)
    assert "host-local-10.1.0.0-29" in error["msg"]


def test_the_old_form_and_the_runtimes_ranges(tmp_path: Path) -> None:
    net = with_ipam(tmp_path, subnet="10.1.0.0/30", gateway="10.1.0.2")
    net["runtimeConfig"] = {"ipRanges": [[{"subnet": "10.2.0.0/30"}]], "ips": ["10.1.0.1"]}

    assert call(ADD, net)[1]["ips"] == [
        {"address": "10.2.0.2/30", "gateway": "10.2.0.1"},
        {"address": "10.1.0.1/30", "gateway": "10.1.0.2"},
    ]


def prev(*addresses: str) -> dict[str, Any]:
    return {"prevResult": {"cniVersion": "1.1.0", "ips": [{"address": text} for text in addresses]}}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        pytest.param(prev("10.0.0.0/32"), DONE, id="as it was"),
        pytest.param(prev("192.0.2.1/24", "10.0.0.0/32"), DONE, id="beside another plugin's"),
        pytest.param(
            prev("10.0.0.1/32"),
            failed(102, "c1/eth0 holds 10.0.0.0", "prevResult has 10.0.0.1 of our pools"),
            id="another",
        ),
        pytest.param(
            prev("192.0.2.1/24"),
            failed(102, "c1/eth0 holds 10.0.0.0", "prevResult has none of our pools"),
            id="not told",
        ),
        pytest.param({}, failed(7, f"{PLACE}: prevResult: expected, but missing"), id="no result"),
        pytest.param(
            prev("x"),
            failed(
                7,
                f"{PLACE}: prevResult.ips[0].address: expected an address: 'x' does not appear to be an IPv4 "
                "or IPv6 interface",
            ),
            id="no address",
        ),
    ],
)
def test_check(told: dict[str, Any], expected: object, tmp_path: Path) -> None:
    net = with_ipam(tmp_path, pools=[POOL])
    call(ADD, net)

    assert call(CHECK, {**net, **told}) == expected


def test_check_of_what_is_gone(tmp_path: Path) -> None:
    net = with_ipam(tmp_path, pools=[POOL])
    call(ADD, net)
    call(DEL, net)

    assert call(CHECK, {**net, **prev("10.0.0.0/32")}) == failed(
        102, "c1/eth0 holds no address", "prevResult has 10.0.0.0"
    )


def test_check_needs_a_configuration_of_its_time(tmp_path: Path) -> None:
    net = {**with_ipam(tmp_path, pools=[POOL]), "cniVersion": "0.3.1"}

    assert call(CHECK, net) == failed(
        1, "config version does not allow CHECK", "config is '0.3.1', CHECK came with 0.4.0", "0.3.1"
    )


def test_garbage_is_what_this_node_has_in_this_network_and_nobody_knows(tmp_path: Path) -> None:
    net = with_ipam(tmp_path, pools=[LARGE, SIX])
    for environ, changes in (
        (container(1), {}),
        (container(2), {}),
        ({**container(2), "CNI_IFNAME": "eth1"}, {}),
        (container(3), {"nodeName": "n2"}),
        (container(4), {"name": "other"}),
    ):
        assert call(environ, {**net, **changes})[0] == 0
    valid = {"cni.dev/valid-attachments": [{"containerID": "c2", "ifname": "eth1"}]}

    assert call(GC, {**net, **valid}) == DONE
    assert call(GC, {**net, **valid}) == DONE

    with open_datastore(net["ipam"]["datastore"]) as datastore:
        left = {str(item.handle) for item in datastore.read(LedgerReader.allocations)}
        assert datastore.read(lambda ledger: len(ledger.handles())) == 3
    assert left == {"c2/eth1", "c3/eth0", "c4/eth0"}
    assert call(GC, {**net, "cni.dev/valid-attachments": None}) == DONE
    assert len(held(net)) == 4


def test_garbage_without_a_list_is_an_error(tmp_path: Path) -> None:
    """An empty list frees everything; a missing one must not."""
    net = with_ipam(tmp_path, pools=[POOL])
    call(ADD, net)

    assert call(GC, net) == failed(7, f"{PLACE}: cni.dev/valid-attachments: expected, but missing")
    assert held(net) == ["10.0.0.0"]


def test_status(tmp_path: Path) -> None:
    """It says whether an ADD would succeed, and takes nothing."""
    net = with_ipam(tmp_path, pools=[POOL])

    assert call(STATUS, net) == DONE
    call(container(1), net)
    assert call(STATUS, net) == DONE
    assert call(container(2), net)[0] == 0
    code, error, _ = call(STATUS, net)
    assert (code, error["code"], error["msg"]) == (1, 50, "no address can be given")
    assert error["details"].startswith("pool default is exhausted for node n1: 2 of 2 addresses")
    assert len(held(net)) == 2


def test_status_with_a_damaged_datastore(tmp_path: Path) -> None:
    (tmp_path / "ipam.sqlite").write_bytes(b"nonsense" * 1024)

    code, error, _ = call(STATUS, with_ipam(tmp_path, pools=[POOL]))

    assert (code, error["code"], error["msg"]) == (1, 51, "the datastore can't be used")
    assert error["details"].startswith(f"{tmp_path}/ipam.sqlite is damaged")


@pytest.mark.parametrize("command", ["GC", "STATUS"])
def test_commands_of_version_1_1(command: str, tmp_path: Path) -> None:
    net = {**with_ipam(tmp_path, pools=[POOL]), "cniVersion": "1.0.0"}

    assert call({"CNI_COMMAND": command}, net) == failed(
        1,
        f"config version does not allow {command}",
        f"config is '1.0.0', {command} came with 1.1.0",
        "1.0.0",
    )


def test_a_pod_start_loads_nothing_slow() -> None:
    """SQLite alone may come: no parser of YAML, no HTTP client, no event loop."""
    slow = ("asyncio", "click", "http.client", "logging", "rich", "ssl", "urllib.request", "yaml")
    code = f"import sys, ipam.plugin; sys.exit(', '.join(m for m in {slow} if m in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
