"""The real `cni-agent` in a node's namespace, awaited until it says that it is ready."""

import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from tests.ready_process import ready_process

AGENT = str(Path(sys.executable).with_name("cni-agent"))


def agent(
    node: Path, node_name: str, config: Path, manifests: Path | None, kubeconfig: Path | None = None
) -> AbstractContextManager["subprocess.Popen[str]"]:
    """Run an agent that has synced once; killed at the end if it still runs."""
    command = [AGENT, "run", "--node-name", node_name, "--config", str(config)]
    command += [] if manifests is None else ["--manifests", str(manifests)]
    command += [] if kubeconfig is None else ["--kubeconfig", str(kubeconfig)]
    return ready_process(command, node)
