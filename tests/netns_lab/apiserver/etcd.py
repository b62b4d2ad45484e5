"""An etcd of our own, on loopback ports of its own, ended with the test session."""

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.netns_lab.apiserver.free_port import free_ports

_READY_WITHIN_S = 60.0


@contextmanager
def etcd(directory: Path) -> Iterator[str]:
    """Run etcd; yield its address."""
    client, peer = free_ports(2)
    url, peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    options = {
        "name": "test",
        "data-dir": str(directory / "etcd"),
        "listen-client-urls": url,
        "advertise-client-urls": url,
        "listen-peer-urls": peer_url,
        "initial-advertise-peer-urls": peer_url,
        "initial-cluster": f"test={peer_url}",
        "log-level": "error",
        # Ours live for seconds; a power cut is not what they test.
        "unsafe-no-fsync": "",
    }
    words = [f"--{name}={value}" if value else f"--{name}" for name, value in options.items()]
    with subprocess.Popen(["etcd", *words], stderr=subprocess.DEVNULL) as process:
        try:
            await_health(process, f"{url}/health")
            yield f"127.0.0.1:{client}"
        finally:
            process.kill()


def await_health(process: "subprocess.Popen[bytes]", url: str) -> None:
    """Wait until it answers."""
    deadline = time.monotonic() + _READY_WITHIN_S
    while True:
        assert process.poll() is None
        assert time.monotonic() < deadline
        try:
            with urllib.request.urlopen(url, timeout=1.0) as answer:  # noqa: S310  # http, our own
                if b"true" in answer.read():
                    return
        except (urllib.error.URLError, OSError):
            # Nothing tells when etcd listens: asked for.
            time.sleep(0.02)
