"""The real program nodeplane-ipam, as a runtime or another plugin calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ipam.datastore import open_datastore
from ipam.ledger import LedgerReader
from ipam.model import PodRef
from nodeplane.cnispec import SUPPORTED_VERSIONS
from tests.ipam.values import handle

PROGRAM = Path(sys.executable).with_name("nodeplane-ipam")
ARGS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=u1"
ADD = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/p1",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": ARGS,
}
DEL = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0"}
# A pool of one block of two addresses.
POOL = {"name": "default", "cidr": "10.0.0.0/31", "blockSize": 31}


def config(directory: Path, **changes: Any) -> dict[str, Any]:
    """Build the configuration of a network whose IPAM we are; a change to None leaves a field out."""
    fields = {
        "cniVersion": "1.1.0",
        "name": "net",
        "type": "ptp",
        "nodeName": "n1",
        "ipam": {"type": "nodeplane-ipam", "datastore": f"sqlite://{directory}/ipam.sqlite", "pools": [POOL]},
        **changes,
    }
    return {key: value for key, value in fields.items() if value is not None}


def call(environ: dict[str, str], stdin: object) -> tuple[int, Any, str]:
    """Run the program; return its exit code, its stdout as data (None: empty) and its stderr."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("CNI_")}
    data = stdin if isinstance(stdin, bytes) else json.dumps(stdin).encode()
    done = subprocess.run(
        [PROGRAM], input=data, env={**inherited, **environ}, capture_output=True, check=False
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr.decode()


def added(address: str, version: str = "1.1.0") -> tuple[int, Any, str]:
    return 0, {"cniVersion": version, "ips": [{"address": address}]}, ""


def failed(code: int, msg: str, details: str = "", version: str = "1.1.0") -> tuple[int, Any, str]:
    error = {"cniVersion": version, "code": code, "msg": msg}
    return 1, {**error, "details": details} if details else error, ""


def test_add_and_delete(tmp_path: Path) -> None:
    net = config(tmp_path)

    assert call(ADD, net) == added("10.0.0.0/32")
    assert call(ADD, net) == added("10.0.0.0/32")
    assert call({**ADD, "CNI_IFNAME": "eth1"}, net) == added("10.0.0.1/32")
    with open_datastore(net["ipam"]["datastore"]) as datastore:
        held = datastore.read(LedgerReader.allocations)
    assert [(item.handle, item.pod, item.netns, item.node) for item in held][:1] == [
        (handle(1), PodRef("default", "web", "u1"), "/run/netns/p1", "n1")
    ]
    assert call({**ADD, "CNI_CONTAINERID": "c2"}, net) == failed(
        11,
        "pool default is exhausted for node n1: 2 of 2 addresses of 10.0.0.0/31 in use, 0 of 1 blocks (/31) "
        "are other nodes', none is left to claim; add a pool, or free the addresses of dead pods with "
        "ipamctl gc",
    )
    assert [call(DEL, net), call(DEL, net)] == [(0, None, ""), (0, None, "")]
    assert call({**ADD, "CNI_CONTAINERID": "c2"}, net) == added("10.0.0.0/32")


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        pytest.param("0.2.0", {"ip4": {"ip": "10.0.0.0/32"}}, id="0.2.0"),
        pytest.param("0.4.0", {"ips": [{"address": "10.0.0.0/32", "version": "4"}]}, id="0.4.0"),
        pytest.param("1.0.0", {"ips": [{"address": "10.0.0.0/32"}]}, id="1.0.0"),
    ],
)
def test_answers_in_the_version_of_the_question(
    version: str, expected: dict[str, Any], tmp_path: Path
) -> None:
    assert call(ADD, config(tmp_path, cniVersion=version)) == (0, {"cniVersion": version, **expected}, "")


def test_ipv6(tmp_path: Path) -> None:
    pool = {"name": "six", "cidr": "fd00::/122"}
    ipam = {**config(tmp_path)["ipam"], "pools": [pool]}

    assert call(ADD, config(tmp_path, ipam=ipam)) == added("fd00::/128")


def test_delete_needs_neither_pools_nor_a_namespace(tmp_path: Path) -> None:
    """Whatever has become of the configuration since the ADD, the address comes free."""
    net = config(tmp_path)
    call(ADD, net)
    changed = {**net["ipam"], "pools": [{"name": "default", "cidr": "nonsense"}]}

    assert call(DEL, config(tmp_path, ipam=changed, nodeName="not/valid")) == (0, None, "")
    assert call({**ADD, "CNI_CONTAINERID": "c2"}, net) == added("10.0.0.1/32")
    assert call({**ADD, "CNI_CONTAINERID": "c3"}, net) == added("10.0.0.0/32")


@pytest.mark.parametrize(
    "stdin",
    [pytest.param(b"", id="nothing"), pytest.param(b"{", id="garbage"), pytest.param(b"{}", id="empty")],
)
def test_version(stdin: bytes) -> None:
    answer = {"cniVersion": "1.1.0", "supportedVersions": list(SUPPORTED_VERSIONS)}
    if stdin == b"{}":
        answer["cniVersion"] = "0.1.0"

    assert call({"CNI_COMMAND": "VERSION"}, stdin) == (0, answer, "")


def test_without_a_command_it_says_what_it_is() -> None:
    assert call({}, b"") == (
        0,
        None,
        "nodeplane-ipam: CNI IPAM plugin of nodeplane\n"
        "CNI protocol versions supported: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0\n",
    )


NAME = "expected a DNS subdomain name (lower case, digits, '-', '.')"
PLACE = "network configuration"


@pytest.mark.parametrize(
    ("environ", "changes", "expected"),
    [
        pytest.param({"CNI_COMMAND": "FOO"}, {}, failed(4, "unknown CNI_COMMAND: FOO"), id="command"),
        pytest.param({"CNI_COMMAND": "add"}, {}, failed(4, "unknown CNI_COMMAND: add"), id="lower case"),
        pytest.param(
            {"CNI_NETNS": ""}, {}, failed(4, "required env variables [CNI_NETNS] missing"), id="no namespace"
        ),
        pytest.param(
            {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "", "CNI_IFNAME": ""},
            {},
            failed(4, "required env variables [CNI_CONTAINERID,CNI_IFNAME] missing"),
            id="no container",
        ),
        pytest.param(
            {"CNI_CONTAINERID": "../../etc"},
            {},
            failed(
                4,
                "invalid CNI_CONTAINERID",
                "expected letters, digits, '_', '.', '-', the first a letter or a digit, got '../../etc'",
            ),
            id="container id",
        ),
        pytest.param(
            {"CNI_IFNAME": "eth0/1"},
            {},
            failed(
                4,
                "invalid CNI_IFNAME",
                "expected 1 to 15 characters without '/', ':' and spaces, not '.' or '..', got 'eth0/1'",
            ),
            id="interface",
        ),
        pytest.param(
            {"CNI_ARGS": "nonsense"},
            {},
            failed(4, "invalid CNI_ARGS", "expected KEY=VALUE;KEY=VALUE, got 'nonsense'"),
            id="args",
        ),
        pytest.param(
            {},
            {"cniVersion": "9.9.9"},
            failed(
                1,
                "incompatible CNI versions",
                "config is '9.9.9', plugin supports 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0",
            ),
            id="version",
        ),
        pytest.param(
            {}, {"name": None}, failed(7, f"{PLACE}: name: expected the network's name"), id="no name"
        ),
        pytest.param({}, {"ipam": None}, failed(7, f"{PLACE}: ipam: expected, but missing"), id="no ipam"),
        pytest.param(
            {},
            {"ipam": "host-local"},
            failed(7, f"{PLACE}: ipam: expected `object`, got `str`"),
            id="ipam's type",
        ),
        pytest.param(
            {},
            {"ipam": {"pools": [POOL], "routes": [{"dst": "x"}]}},
            failed(
                7,
                f"{PLACE}: ipam.routes[0].dst: expected a network: 'x' does not appear to be an IPv4 or IPv6 "
                "network",
            ),
            id="route",
        ),
        pytest.param(
            {},
            {"ipam": {"pools": [{"name": "a", "cidr": "10.0.0.0/16", "blockSize": "26"}]}},
            failed(7, f"{PLACE}: ipam.pools[0].blockSize: expected `int | null`, got `str`"),
            id="field's type",
        ),
        pytest.param(
            {},
            {"ipam": {"pools": [POOL, {"name": "a", "cidr": "10.1.0.0/16", "blocksize": 27}]}},
            failed(7, f"{PLACE}: ipam.pools[1].blocksize: expected no such field"),
            id="misspelt field of a pool",
        ),
        pytest.param(
            {},
            {"ipam": {"pools": [{"name": "a", "cidr": "10.0.0.0/16", "blockSize": 33}]}},
            failed(
                7,
                f"{PLACE}: ipam.pools[0].blockSize: expected a prefix length from 20 to 32 for 10.0.0.0/16, "
                "got 33",
            ),
            id="blockSize",
        ),
        pytest.param(
            {},
            {"ipam": {"pools": [POOL], "datastore": "etcd://h:2379"}},
            failed(
                7,
                f"{PLACE}: ipam.datastore: expected sqlite:///absolute/path or "
                "etcd://host:port[,host:port]/prefix, got 'etcd://h:2379'",
            ),
            id="datastore",
        ),
        pytest.param(
            {}, {"nodeName": "N 1"}, failed(7, f"{PLACE}: nodeName: {NAME}, got 'N 1'"), id="node name"
        ),
    ],
)
def test_bad_calls(
    environ: dict[str, str], changes: dict[str, Any], expected: object, tmp_path: Path
) -> None:
    """An exact error, exit code 1, nothing on stderr, nothing made."""
    assert call({**ADD, **environ}, config(tmp_path, **changes)) == expected
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("stdin", "expected"),
    [
        pytest.param(b"", failed(6, f"{PLACE} is not JSON", "Input data was truncated"), id="nothing"),
        pytest.param(b'{"name":', failed(6, f"{PLACE} is not JSON", "Input data was truncated"), id="half"),
        pytest.param(
            b"\xff\xfe",
            failed(6, f"{PLACE} is not JSON", "JSON is malformed: invalid character (byte 0)"),
            id="binary",
        ),
        pytest.param(
            b'{"name": "\xff"}',
            failed(6, f"{PLACE} is not UTF-8", "invalid start byte"),
            id="not UTF-8",
        ),
        pytest.param(b"[]", failed(7, f"{PLACE}: expected `object`, got `array`"), id="an array"),
    ],
)
def test_bad_stdin(stdin: bytes, expected: object) -> None:
    assert call(ADD, stdin) == expected


def test_a_damaged_datastore_is_an_error_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ipam.sqlite"
    path.write_bytes(b"nonsense" * 1024)

    for environ in (ADD, DEL):
        assert call(environ, config(tmp_path)) == failed(
            5,
            f"{path} is damaged (file is not a database): restore it from a backup; "
            "move it away only when no pod has an address from it",
        )
    assert path.read_bytes() == b"nonsense" * 1024
