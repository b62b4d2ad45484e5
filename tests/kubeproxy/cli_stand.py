"""The program's command line in a namespace, with manifests of one Service."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nodeplane.datapath import netns
from tests.netns_fixture import run_in

PROGRAM = str(Path(sys.executable).with_name("kubeproxy"))

WEB = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.244.0.1], nodeName: n1}, {addresses: [10.244.0.2], nodeName: n2}]
"""
SHOWN = {
    "frontend": "TCP 10.96.0.1:80",
    "endpoints": ["10.244.0.1:8080", "10.244.0.2:8080"],
}


def inputs(manifests: Path) -> tuple[str, ...]:
    return ("--node-name", "n1", "--manifests", str(manifests))


def shown(ns: Path) -> list[dict[str, object]]:
    done = run_in(ns, PROGRAM, "show", "-o", "json")
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, object]] = json.loads(done.stdout)
    return rows


@contextmanager
def running(ns: Path, manifests: Path, folder: Path, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the daemon until READY=1, as a supervisor would; end it with SIGTERM."""
    path = folder / "notify"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(60)
        with netns.inside(ns), (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [PROGRAM, "run", *inputs(manifests), *options],
                env=os.environ | {"NOTIFY_SOCKET": str(path)},
                stderr=log,
            )
        try:
            assert listener.recv(64) == b"READY=1"
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


CONFIG = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
metricsBindAddress: 127.0.0.1:8001
"""
