"""Two nodes on one wire: a runtime's place with its agent on the first, a pod of ours on the second."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.cni.agent_process import AGENT, agent
from tests.cni.conftest import Node, address_of, agent_socket, network_config
from tests.netns_fixture import answers, namespace, run_in, veth_pair
from tests.runtimes.enclosure import Enclosure, enclosure
from tests.runtimes.plugin_folder import PluginFolders, plugin_folders

__all__ = ["agent_socket"]  # a fixture for the tests here, too

ADDRESSES = {"n1": "192.0.2.1", "n2": "192.0.2.2"}

_IPAMCTL = str(Path(sys.executable).with_name("ipamctl"))
_READY_WITHIN_S = 60.0


class Cluster(NamedTuple):
    """The runtime's node and its folders; `other` and `pod` are the second node and what runs there."""

    node: Node
    other: Node
    pod: Path
    pod_address: str
    place: Enclosure
    folders: PluginFolders
    manifests: Path

    @property
    def plugin(self) -> dict[str, Any]:
        """The plugin's own part of a configuration list; the agent adds what it knows."""
        ipam = {key: value for key, value in self.node.config["ipam"].items() if key != "datastore"}
        return {"type": "nodeplane-cni", "ipam": ipam}

    @contextmanager
    def agent(
        self, program: Path, *plugins: dict[str, Any], socket_path: str | None = None
    ) -> Iterator[None]:
        """Run the node's agent beside the runtime; it installs `program` and a list of plugins."""
        top = self.folders.top
        conflist = {"cniVersion": "1.0.0", "name": "nodeplane", "plugins": plugins}
        (top / "conflist").write_text(json.dumps(conflist))
        install = {
            "conflist": f"{top}/conflist",
            "confDir": str(self.folders.conf),
            "binDir": str(self.folders.bin),
            "programs": {"nodeplane-cni": str(self.folders.write_logged(program))},
        }
        config = {"datastore": self.node.datastore, "install": install}
        if socket_path is not None:
            config["socket"] = socket_path
        # JSON is YAML too.
        (top / "agent.yaml").write_text(json.dumps(config))
        command = [AGENT, "run", "--node-name", "n1", "--config", f"{top}/agent.yaml"]
        command += ["--manifests", str(self.manifests)]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, (top / "agent.log").open("w") as log:
            ready.bind(f"{top}/ready")
            ready.settimeout(_READY_WITHIN_S)
            process = subprocess.Popen(
                self.place.command(*command, env={"NOTIFY_SOCKET": f"{top}/ready"}), stderr=log
            )
            try:
                assert ready.recv(64) == b"READY=1"
                yield
            finally:
                # nsenter only, which passes no signal on; the agent ends with the place.
                process.kill()
                process.wait()

    def fetch(self, node: Node, url: str) -> str:
        """Fetch a page as a process of a node's."""
        return run_in(node.path, "curl", "--silent", "--max-time", "10", url).stdout

    def is_reached(self, address: str) -> bool:
        """Say whether the second node's pod reaches an address."""
        return answers(self.pod, address)

    def traces(self, addresses: Iterable[str], *words: str) -> list[str]:
        """Return what pods leave on the first node, which words its rules have, and which addresses IPAM."""
        links = json.loads(run_in(self.node.path, "ip", "-json", "link").stdout)
        routes = [route for route in self.node.routes() if " dev npl" in route]
        rules = run_in(self.node.path, "nft", "list", "ruleset").stdout
        return [
            *(link["ifname"] for link in links if link["ifname"] not in {"lo", "eth0"}),
            *routes,
            *self.place.namespaces(),
            *(word for word in (*addresses, *words) if re.search(rf"\b{re.escape(word)}\b", rules)),
            *(address for address in addresses if self._is_assigned(address)),
        ]

    def _is_assigned(self, address: str) -> bool:
        command = (_IPAMCTL, "show", address, "--datastore", self.node.datastore)
        return run_in(self.node.path, *command).returncode == 0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    manifests, config, datastore = tmp_path / "manifests", tmp_path / "agent.yaml", tmp_path / "ipam.sqlite"
    manifests.mkdir()
    (manifests / "nodes.yaml").write_text(
        "---\n".join(
            f"apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n"
            f"status: {{addresses: [{{type: InternalIP, address: {address}}}]}}\n"
            for name, address in ADDRESSES.items()
        )
    )
    config.write_text(f"datastore: sqlite://{datastore}\n")
    with ExitStack() as stack:
        paths = {name: stack.enter_context(namespace(name)) for name in (*ADDRESSES, "pod")}
        ends = {f"address_{side}": f"{ADDRESSES[name]}/24" for side, name in (("a", "n1"), ("b", "n2"))}
        stack.enter_context(veth_pair(paths["n1"], "eth0", paths["n2"], "eth0", **ends))
        nodes = {name: Node(paths[name], network_config(datastore, name)) for name in ADDRESSES}
        stack.enter_context(agent(nodes["n2"].path, "n2", config, manifests))
        address = address_of(nodes["n2"].add(paths["pod"]))
        place = stack.enter_context(enclosure(paths["n1"]))
        folders = plugin_folders(tmp_path / "cni")
        yield Cluster(nodes["n1"], nodes["n2"], paths["pod"], address, place, folders, manifests)
