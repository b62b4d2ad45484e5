"""Both shims, built around a plugin of the test's own, and calls of them as a runtime makes them."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cni.calls.shims import build, find_compiler
from nodeplane.datapath import netns

HAS_COMPILER = find_compiler() is not None
KINDS = ("launcher", "shim") if HAS_COMPILER else ("shim",)


class Outcome(NamedTuple):
    """What a call of a shim came to."""

    code: int
    stdout: bytes
    stderr: bytes = b""


def build_shims(directory: Path, plugin: Path) -> dict[str, Path]:
    """Build what can be had, by kind."""
    return {path.name.rpartition("-")[2]: path for path in build(directory, plugin, find_compiler())}


def write_program(path: Path, text: str) -> Path:
    """Write a script that can be run."""
    path.write_text(text)
    path.chmod(0o755)
    return path


def call(
    program: Path,
    environ: Mapping[str, str],
    config: bytes = b"{}",
    *,
    node: Path | None = None,
    deadline_s: float = 60.0,
) -> Outcome:
    """Run a shim to its end, in a node's namespace if one is given."""
    full = {
        **os.environ,
        "NODEPLANE_CNI_DEADLINE_S": str(deadline_s),
        **environ,
    }
    with netns.inside(node or Path("/proc/thread-self/ns/net")):
        done = subprocess.run(
            [program], input=config, env=full, capture_output=True, check=False, timeout=120
        )
    return Outcome(done.returncode, done.stdout, done.stderr)
