"""The kubectls to drive a lab with: the one that is installed, and Debian's if that is another."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE = "kubernetes-client"


def which_kubectls() -> list[str]:
    """Return `installed`, and `debian` if what is installed did not come from Debian's package."""
    found = shutil.which("kubectl") or "kubectl"
    owner = subprocess.run(["dpkg", "-S", found], capture_output=True, text=True, check=False)
    return ["installed"] if owner.stdout.startswith(f"{PACKAGE}:") else ["installed", "debian"]


def path_with(kubectl: str) -> str:
    """Return the PATH on which `kubectl` is the one of that word."""
    path = os.environ["PATH"]
    if kubectl == "installed":
        return path
    program = Path(sys.prefix) / "debian" / "kubectl"
    assert program.exists(), f"{program} is missing: run scripts/setup"
    return os.pathsep.join([str(program.parent), path])
