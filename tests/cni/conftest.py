"""A node for each test: a namespace, a datastore, and the CNI plugin, run inside as a runtime would."""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ipam.datastore import open_datastore
from tests.cni.call_agent import call_agent
from tests.cni.shim_programs import KINDS, build_shims
from tests.netns_fixture import namespace, run_in

PLUGIN = str(Path(sys.executable).with_name("nodeplane-cni"))
POD_ARGS = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0"


class Answer(NamedTuple):
    """What a call of the plugin gave: its exit code and the JSON on its stdout, None for none."""

    code: int
    body: Any


class Node(NamedTuple):
    """A node without links but its loopback, and the network configuration of its plugin."""

    path: Path
    config: dict[str, Any]
    program: str = PLUGIN

    @property
    def datastore(self) -> str:
        url: str = self.config["ipam"]["datastore"]
        return url

    def environ(
        self,
        command: str,
        pod: Path | str,
        container: str = "c1",
        interface: str = "eth0",
        args: str = POD_ARGS,
        **more: str,
    ) -> dict[str, str]:
        """Return the variables of a call (SPEC section 2), `more` with or in place of those here."""
        return {
            # The second: so that the tree under test is the one that runs, wherever the program leads.
            **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": str(pod),
            "CNI_IFNAME": interface,
            "CNI_ARGS": args,
            "CNI_PATH": "/nowhere",
            "NODEPLANE_CNI_SOCKET": os.environ["NODEPLANE_CNI_SOCKET"],
            # Set where another tree than the installed one is tested.
            **{name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
            **more,
        }

    def call(self, command: str, pod: Path | str, **fields: Any) -> Answer:
        """Run the plugin; `config` overrides fields of the configuration, the rest is `environ`'s.

        On stderr must stand `stderr`.
        """
        config = {**self.config, **fields.pop("config", {})}
        stderr = fields.pop("stderr", "")
        done = run_in(
            self.path,
            self.program,
            stdin=json.dumps(config),
            env=self.environ(command, pod, **fields),
            timeout_s=120,
        )
        assert done.stderr == stderr
        return Answer(done.returncode, json.loads(done.stdout) if done.stdout else None)

    def add(self, pod: Path, **fields: Any) -> Any:
        """Run ADD, which must succeed, and return its result."""
        answer = self.call("ADD", pod, **fields)
        assert answer.code == 0, answer
        return answer.body

    def links(self) -> set[str]:
        """Return the names of the node's pod links."""
        lines = run_in(self.path, "ip", "-o", "link").stdout.splitlines()
        names = {line.split(": ")[1].partition("@")[0] for line in lines}
        return {name for name in names if name.startswith("npl")}

    def routes(self) -> list[str]:
        """Return the node's routes with our protocol number, as `ip route` prints them."""
        lines = run_in(self.path, "ip", "-4", "route", "show", "proto", "110").stdout.splitlines()
        return sorted(line.strip() for line in lines)


def network_config(datastore: Path, node_name: str = "n1") -> dict[str, Any]:
    """Return a network configuration with a pool of our own IPAM."""
    return {
        "cniVersion": "1.1.0",
        "name": "nodeplane",
        "type": "nodeplane-cni",
        "nodeName": node_name,
        "ipam": {
            "type": "nodeplane-ipam",
            "datastore": f"sqlite://{datastore}",
            "pools": [{"name": "default", "cidr": "10.244.0.0/16", "blockSize": 26}],
        },
    }


def address_of(result: Any) -> str:
    """Return the pod's address out of an ADD's result."""
    address: str = result["ips"][0]["address"]
    return address.removesuffix("/32")


def held(node: Node) -> set[tuple[str, str, str]]:
    """Return who holds which address in the node's datastore."""
    with open_datastore(node.datastore) as datastore:
        return {
            (item.handle.container_id, item.handle.interface, str(item.address))
            for item in datastore.read(lambda ledger: ledger.allocations())
        }


IN_PROCESS = "in process"
WAYS = (IN_PROCESS, *KINDS)
"""How a call is done: by the plugin itself, or by an agent that one of the shims hands it to."""


@pytest.fixture
def way() -> str:
    """Say how calls are done; a module that wants another way has a fixture of this name."""
    return IN_PROCESS


@pytest.fixture(scope="session")
def shims(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build the shims in front of the plugin under test."""
    return build_shims(tmp_path_factory.mktemp("shims"), Path(PLUGIN))


@pytest.fixture
def node(tmp_path: Path, way: str, shims: dict[str, Path], agent_socket: Path) -> Iterator[Node]:
    with namespace("node") as path:
        config = network_config(tmp_path / "ipam.sqlite")
        if way == IN_PROCESS:
            yield Node(path, config)
            return
        with call_agent(path, agent_socket):
            yield Node(path, config, str(shims[way]))


@pytest.fixture
def pod() -> Iterator[Path]:
    with namespace("pod") as path:
        yield path


@pytest.fixture(autouse=True)
def agent_socket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give agents and plugins a place of their own to meet; a socket's path has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="npt-") as directory:
        path = Path(directory) / "cni.sock"
        monkeypatch.setenv("NODEPLANE_CNI_SOCKET", str(path))
        yield path


@pytest.fixture
def open_path() -> Iterator[Path]:
    """Yield a directory that all users may enter, unlike pytest's own: bird is not root."""
    with tempfile.TemporaryDirectory(prefix="npt-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
