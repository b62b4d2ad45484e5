"""The kubectls to drive a lab with: the one that is installed, and Debian's if that is another."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

PACKAGE = "kubernetes-client"

_LIMIT_S = 240


def which_kubectls() -> list[str]:
    """Return `installed`, and `debian` if what is installed did not come from Debian's package."""
    found = shutil.which("kubectl") or "kubectl"
    owner = subprocess.run(["dpkg", "-S", found], capture_output=True, text=True, check=False)
    return ["installed"] if owner.stdout.startswith(f"{PACKAGE}:") else ["installed", "debian"]


def debian_kubectl(cache: Path) -> Path:
    """Return the folder of Debian's kubectl, fetched once into `cache` and not installed."""
    program = cache / PACKAGE / "usr" / "bin" / "kubectl"
    if not program.exists():
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            _run("apt-get", "download", "-q", PACKAGE, folder=folder)
            archive = next(Path(folder).glob("*.deb"))
            _run("dpkg", "-x", archive.name, PACKAGE, folder=folder)
            # Another copy of the suite may have been faster; either's will do.
            if not program.exists():
                os.rename(Path(folder) / PACKAGE, cache / PACKAGE)
    return program.parent


def _run(*command: str, folder: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
