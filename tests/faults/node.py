"""A node of its own: `netns-lab apiserver` and `kubeproxy run` in one namespace, and its kernel table."""

import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from nodeplane.datapath import netns
from tests.faults.table_watcher import Services, TableWatcher
from tests.faults.tampering_proxy import TamperingProxy
from tests.kube.certificates import Authority
from tests.netns_fixture import eventually, namespace
from tests.netns_lab.apiserver.in_namespace import LIMIT_S, ServerInNamespace

KUBEPROXY = str(Path(sys.executable).with_name("kubeproxy"))
# Nobody else is in the namespace.
PORT, OTHER_PORT = 6443, 7443
SERVICES = "/api/v1/namespaces/default/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


def frontend(number: int) -> str:
    return f"TCP 10.96.0.{number}:80"


def endpoints(*numbers: int) -> frozenset[str]:
    return frozenset(f"10.244.0.{number}:8080" for number in numbers)


def put(server: ServerInNamespace, number: int, *addresses: int, **fields: str) -> None:
    """Create a Service of one port and its slice, or change them; `fields` are some that nobody knows."""
    name = f"service-{number}"
    # The slice first: a Service without endpoints refuses, as it should.
    server.write(
        SLICES,
        {
            "metadata": {
                "name": f"{name}-1",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [
                {"addresses": [f"10.244.0.{each}"], "conditions": {"ready": True}} for each in addresses
            ],
            **fields,
        },
    )
    server.write(
        SERVICES,
        {
            "metadata": {"name": name},
            "spec": {"clusterIP": f"10.96.0.{number}", "ports": [{"name": "http", "port": 80}]},
            **fields,
        },
    )


class Node:
    """What a fault is done to."""

    def __init__(self, ns: Path, directory: Path) -> None:
        self.directory = directory
        self.server = ServerInNamespace(ns, directory / "server", PORT)
        self.watcher = TableWatcher()
        self.proxy: TamperingProxy | None = None
        self.services: Services = {}
        self._ns = ns
        self._kubeconfig = directory / "kubeconfig"
        self._log = directory / "kubeproxy.log"
        self._kubeproxy: subprocess.Popen[bytes] | None = None

    # The cluster.

    def set(self, number: int, *addresses: int, **fields: str) -> None:
        """Give a Service these endpoints on the server; the table may follow from now on."""
        self.expect({**self.services, frontend(number): endpoints(*addresses)})
        put(self.server, number, *addresses, **fields)

    def expect(self, services: Services) -> None:
        """Expect the table to come to this state."""
        self.watcher.expect(self.services, services)
        self.services = services

    def settle(self) -> None:
        """Wait until the table is as the server; then nothing else may be in it."""
        eventually(lambda: self.watcher.latest, lambda seen: seen == self.services, within_s=LIMIT_S)
        self.watcher.expect(self.services, self.services)

    def prepare_other_server(self, *services: tuple[int, int]) -> ServerInNamespace:
        """Return a server that speaks for the same cluster in every respect but its data."""
        directory = self.directory / "other"
        directory.mkdir()
        for name in ("ca.crt", "server.crt", "server.key", "token"):
            shutil.copy2(self.server.directory / name, directory)
        other = ServerInNamespace(self._ns, directory, OTHER_PORT)
        other.start()
        for number, address in services:
            put(other, number, address)
        other.kill()
        other.port = PORT
        return other

    def kill_server(self) -> None:
        """End the server that speaks for the cluster now."""
        self.server.kill()

    # The program.

    def run_kubeproxy(self, *, await_ready: bool = True) -> None:
        """Start kubeproxy on the kubeconfig."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            path = self.directory / "notify"
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            listener.settimeout(LIMIT_S)
            with netns.inside(self._ns), self._log.open("ab") as log:
                self._kubeproxy = subprocess.Popen(
                    [KUBEPROXY, "run", "--node-name", "n1", "--kubeconfig", str(self._kubeconfig)],
                    env=os.environ | {"NOTIFY_SOCKET": str(path)},
                    stderr=log,
                )
            if await_ready:
                assert listener.recv(64) == b"READY=1"

    def kill_kubeproxy(self) -> None:
        """End kubeproxy by SIGKILL."""
        if self._kubeproxy is not None:
            self._kubeproxy.kill()
            self._kubeproxy.wait(LIMIT_S)

    @property
    def is_kubeproxy_running(self) -> bool:
        return self._kubeproxy is not None and self._kubeproxy.poll() is None

    def give_kubeconfig(self) -> None:
        """Give kubeproxy the kubeconfig that leads to the server as it is now, or to the proxy before it."""
        config = yaml.safe_load(self.server.kubeconfig.read_text())
        if self.proxy is not None:
            cluster = config["clusters"][0]["cluster"]
            cluster["server"] = f"https://127.0.0.1:{self.proxy.port}"
            cluster["certificate-authority"] = str(self.directory / "proxy-ca.pem")
            del cluster["certificate-authority-data"]
        draft = self._kubeconfig.with_suffix(".new")
        draft.write_text(yaml.safe_dump(config))
        draft.rename(self._kubeconfig)

    def log(self) -> str:
        """Return what kubeproxy has said."""
        return self._log.read_text()

    def await_log(self, words: str) -> None:
        """Wait until kubeproxy has said something."""
        eventually(self.log, lambda text: re.search(words, text) is not None, within_s=LIMIT_S)

    def start_proxy(self, stack: ExitStack) -> None:
        """Put a proxy between kubeproxy and the server."""
        authority = Authority()
        (self.directory / "proxy-ca.pem").write_bytes(authority.pem)
        upstream = ssl.create_default_context(cafile=str(self.server.directory / "ca.crt"))
        self.proxy = TamperingProxy(PORT, upstream, authority.server_context(self.directory))
        stack.enter_context(self.proxy.running(self._ns))


@contextmanager
def running_node(directory: Path, *, has_proxy: bool) -> Iterator[Node]:
    """Run server and kubeproxy with three Services, until the table has them."""
    with namespace("fault") as ns, ExitStack() as stack:
        node = Node(ns, directory)
        stack.callback(node.kill_server)
        stack.callback(node.kill_kubeproxy)
        node.server.start()
        for number in (10, 11, 12):
            put(node.server, number, number)
        node.expect(
            {
                # kubernetes: on a loopback address the server publishes no endpoint of its own.
                "TCP 10.96.0.1:443": frozenset({"rejected: no endpoint"}),
                **{frontend(number): endpoints(number) for number in (10, 11, 12)},
            }
        )
        if has_proxy:
            node.start_proxy(stack)
        node.give_kubeconfig()
        node.run_kubeproxy()
        stack.enter_context(node.watcher.running(ns))
        node.settle()
        yield node
