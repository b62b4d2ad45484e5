"""The real `cni-agent` in a node's namespace, awaited until it says that it is ready."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nodeplane.datapath import netns

AGENT = str(Path(sys.executable).with_name("cni-agent"))
_READY_WITHIN_S = 60.0


@contextmanager
def agent(
    node: Path, node_name: str, config: Path, manifests: Path | None, kubeconfig: Path | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """Run an agent that has synced once; killed at the end if it still runs."""
    with (
        tempfile.TemporaryDirectory() as directory,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready,
    ):
        ready.bind(f"{directory}/notify")
        ready.settimeout(_READY_WITHIN_S)
        command = [AGENT, "run", "--node-name", node_name, "--config", str(config)]
        command += [] if manifests is None else ["--manifests", str(manifests)]
        command += [] if kubeconfig is None else ["--kubeconfig", str(kubeconfig)]
        with netns.inside(node):
            process = subprocess.Popen(
                command,
                env={**os.environ, "NOTIFY_SOCKET": f"{directory}/notify"},
                stderr=subprocess.PIPE,
                text=True,
            )
        try:
            assert ready.recv(64) == b"READY=1"
            yield process
        finally:
            process.kill()
            process.communicate()


def stop(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """End an agent by SIGTERM; return its exit code and its log."""
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=_READY_WITHIN_S)
    return process.returncode, log
