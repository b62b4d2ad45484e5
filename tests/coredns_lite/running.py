"""coredns-lite as a process of its own, on a loopback address that no other test run uses."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.message
import dns.query
import msgspec

PROGRAM = Path(sys.executable).parent / "coredns-lite"
# Generous for a slow machine; nothing waits this long unless it is broken.
LIMIT_S = 60.0

SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{clusterIP: {address}, ports: [{{port: 80}}]}}
---
"""


def free_port(address: str) -> int:
    """Find a UDP port that is free on an address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
    return port


def own_address() -> str:
    """Return a loopback address of this process's own, so that its ports are too."""
    return f"127.{64 + (os.getpid() >> 8) % 64}.{os.getpid() % 256}.1"


def publish(directory: Path, name: str, **services: str) -> None:
    """Put a manifest with these Services (name=cluster IP) in place, at once and whole."""
    text = "".join(SERVICE.format(name=key, address=value) for key, value in services.items())
    draft = directory / f".{name}"
    draft.write_text(text)
    draft.rename(directory / name)


class Cluster(msgspec.Struct):
    """A directory for manifests, and a Corefile that serves them on an address and port."""

    manifests: Path
    corefile: Path
    address: str
    port: int

    def dig(self, name: str, *options: str) -> tuple[str, str]:
        """Ask with dig; return status and the short answer, `-` for each if there was no reply."""
        command = ["dig", f"@{self.address}", "-p", str(self.port), name, "+tries=1", "+time=2", *options]
        output = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S).stdout
        status = re.search(r"status: (\w+)", output)
        data = re.findall(r"^[^;\s]\S*\s+\d+\s+IN\s+A\s+(\S+)$", output, re.MULTILINE)
        return (status[1] if status else "-", " ".join(data) or "-")

    def ask(self, name: str, rtype: str = "A") -> dns.message.Message:
        """Ask with dnspython and return the reply."""
        return dns.query.udp(dns.message.make_query(name, rtype), self.address, LIMIT_S, self.port)


def make_cluster(directory: Path, plugins: str = "errors") -> Cluster:
    """Write a Corefile for zone cluster.local with a TTL of 7 seconds."""
    manifests = directory / "manifests"
    manifests.mkdir()
    address = own_address()
    cluster = Cluster(manifests, directory / "Corefile", address, free_port(address))
    cluster.corefile.write_text(
        f"cluster.local:{cluster.port} {{\n"
        f"    bind {address}\n    {plugins}\n"
        f"    kubernetes {{\n        manifests {manifests}\n        ttl 7\n    }}\n}}\n"
    )
    return cluster


@contextmanager
def running(cluster: Cluster) -> Iterator[list[str]]:
    """Run the program from ready to SIGTERM; the list yielded gets the lines of its log at the end."""
    lines: list[str] = []
    path = cluster.corefile.with_name(f"notify-{os.urandom(4).hex()}")
    log = cluster.corefile.with_name("log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, log.open("w") as stderr:
        ready.bind(str(path))
        ready.settimeout(LIMIT_S)
        process = subprocess.Popen(
            [PROGRAM, "run", "--conf", cluster.corefile],
            env={**os.environ, "NOTIFY_SOCKET": str(path)},
            stderr=stderr,
        )
        try:
            assert ready.recv(64) == b"READY=1", log.read_text()
            yield lines
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT_S) == 0
        finally:
            process.kill()
            process.wait()
            lines += log.read_text().splitlines()
