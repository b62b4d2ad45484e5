"""Make the programs that a container runtime starts, for the plugin's place on this machine.

    python -m cni.shims [DIRECTORY]

writes `nodeplane-cni-shim` (Python) and, where there is a C compiler, `nodeplane-cni-launcher` (native),
beside this interpreter or into DIRECTORY. Either is installed as `nodeplane-cni` (`cni.install`). What is
newer than its source is left.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from nodeplane.errors import SetupError

SHIM = "nodeplane-cni-shim"
LAUNCHER = "nodeplane-cni-launcher"

_HERE = Path(__file__).parent
_PLUGIN_LINE = 'PLUGIN = b"/usr/bin/nodeplane-cni"\n'
_WITHIN_S = 120


def render_shim(plugin: Path) -> str:
    """Return the Python shim that runs this plugin where the agent is absent."""
    source = (_HERE / "shim.py").read_text(encoding="utf-8")
    return source.replace(_PLUGIN_LINE, f"PLUGIN = {os.fsencode(plugin)!r}\n")


def build(directory: Path, plugin: Path, compiler: str | None) -> list[Path]:
    """Write the shims that can be had; return them, the quickest first.

    Raises:
        SetupError: the compiler is there and fails.
    """
    shim, launcher = directory / SHIM, directory / LAUNCHER
    if _is_older(shim, _HERE / "shim.py"):
        _put(shim, render_shim(plugin).encode())
    if compiler is None:
        return [shim]
    if _is_older(launcher, _HERE / "launcher.c"):
        draft = launcher.with_suffix(".draft")
        _compile(compiler, plugin, draft)
        draft.rename(launcher)
    return [launcher, shim]


def find_compiler() -> str | None:
    """Return the C compiler of this machine."""
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def main(arguments: list[str]) -> int:
    """Build and print what there is."""
    beside = Path(sys.executable).parent
    directory = Path(arguments[0]) if arguments else beside
    try:
        for path in build(directory, beside / "nodeplane-cni", find_compiler()):
            print(path)
    except SetupError as exc:
        print(f"cni.shims: {exc}", file=sys.stderr)
        return exc.exit_code
    return 0


def _compile(compiler: str, plugin: Path, target: Path) -> None:
    escaped = str(plugin).replace("\\", "\\\\").replace('"', '\\"')
    command = [compiler, "-O2", "-Wall", "-Wextra", f'-DPLUGIN="{escaped}"', "-o", str(target)]
    command.append(str(_HERE / "launcher.c"))
    # Static: no time goes into a dynamic linker. Not every machine has libc's archive.
    done = subprocess.run([*command, "-static"], capture_output=True, check=False, timeout=_WITHIN_S)
    if done.returncode != 0:
        done = subprocess.run(command, capture_output=True, check=False, timeout=_WITHIN_S)
    if done.returncode != 0:
        raise SetupError(f"{compiler} failed: {done.stderr.decode(errors='replace').strip()}")


def _is_older(made: Path, source: Path) -> bool:
    return not made.exists() or made.stat().st_mtime_ns < source.stat().st_mtime_ns


def _put(path: Path, content: bytes) -> None:
    draft = path.with_suffix(".draft")
    draft.write_bytes(content)
    draft.chmod(0o755)
    draft.rename(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
