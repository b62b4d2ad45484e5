"""The Services of the DNS benches: their names and addresses, and coredns-lite over manifests of them."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.pinned import pin_all

SERVICES = 1000
NAMESPACES = 20
ZONE = "cluster.local"


def build_services(count: int = SERVICES) -> list[tuple[str, str]]:
    """Name the services: (name, namespace)."""
    return [(f"service-{number}", f"team-{number % NAMESPACES}") for number in range(count)]


def service_address(number: int) -> str:
    """Return the cluster IP of a service."""
    return f"10.96.{number >> 8}.{number & 255}"


def write_services(manifests: Path, count: int) -> None:
    """Write the Services into a directory of manifests."""
    manifests.mkdir(parents=True, exist_ok=True)
    (manifests / "services.json").write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "ServiceList",
                "items": [
                    {
                        "apiVersion": "v1",
                        "kind": "Service",
                        "metadata": {"name": name, "namespace": namespace},
                        "spec": {
                            "clusterIP": service_address(number),
                            "ports": [{"name": "http", "port": 80}],
                        },
                    }
                    for number, (name, namespace) in enumerate(build_services(count))
                ],
            }
        )
    )


@contextmanager
def serve_ours(directory: Path, count: int = SERVICES, workers: int = 1) -> Iterator[tuple[int, str, int]]:
    """Run coredns-lite over the services; yield its process id, address and port once it is ready."""
    manifests = directory / "manifests"
    write_services(manifests, count)
    with socket.socket() as probe:
        probe.bind((own_address(), 0))
        address, port = probe.getsockname()
    corefile = directory / "Corefile"
    corefile.write_text(
        f"{ZONE}:{port} {{\n bind {address}\n multisocket {workers}\n"
        f" prometheus {address}:{free_tcp_port()}\n loadbalance\n"
        f" kubernetes {{\n manifests {manifests}\n }}\n}}\n"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        ready.bind(str(directory / "notify"))
        process = subprocess.Popen(
            [Path(sys.executable).parent / "coredns-lite", "run", "--conf", corefile],
            env={**os.environ, "NOTIFY_SOCKET": str(directory / "notify")},
            stderr=subprocess.DEVNULL,
        )
        try:
            ready.settimeout(60)
            assert ready.recv(64) == b"READY=1"
            pin_all(process.pid, 0)
            yield process.pid, address, port
        finally:
            process.terminate()
            process.wait()
            (directory / "notify").unlink()


def own_address() -> str:
    """Return a loopback address of this process's own."""
    return f"127.{os.getpid() >> 8 & 127}.{os.getpid() & 255}.53"


def free_tcp_port() -> int:
    """Find a TCP port that is free on our address."""
    with socket.socket() as probe:
        probe.bind((own_address(), 0))
        port: int = probe.getsockname()[1]
    return port
