"""Make the programs that a container runtime starts, for the plugin's place on this machine.

    python -m cni.calls.shims [DIRECTORY]

writes `nodeplane-cni-shim` (Python) and, where there is a C compiler, `nodeplane-cni-launcher` (native),
beside this interpreter or into DIRECTORY. Either is installed as `nodeplane-cni` (`cni.agent.install`).
What is newer than its source is left.
"""

import json
import marshal
import os
import shutil
import subprocess
import sys
from importlib.util import MAGIC_NUMBER
from pathlib import Path

from nodeplane.cnispec import SUPPORTED_VERSIONS
from nodeplane.errors import SetupError

SHIM = "nodeplane-cni-shim"
LAUNCHER = "nodeplane-cni-launcher"

_HERE = Path(__file__).parent
_PLUGIN_LINE = 'PLUGIN = b"/usr/bin/nodeplane-cni"\n'
_WITHIN_S = 120
# Without libc's start where the source can do without, which is on x86-64.
_FREESTANDING = ("-ffreestanding", "-nostdlib", "-fno-stack-protector", "-fno-tree-loop-distribute-patterns")

_SHIM = """\
#!/usr/bin/python3 -IS
# nodeplane: cni/calls/shim.py, compiled, for no interpreter keeps what it made of a program; then as written.
import marshal
from _frozen_importlib_external import MAGIC_NUMBER
if MAGIC_NUMBER == {magic!r}:
    exec(marshal.loads({code!r}))
exec({source!r})
"""


def render_shim(plugin: Path) -> str:
    """Return the Python shim that runs this plugin where the agent is absent.

    To compile it takes 1.6 ms of 9, so it brings its code along; an interpreter of another version, which
    could not read that, finds the source.
    """
    source = (_HERE / "shim.py").read_text(encoding="utf-8")
    source = source.replace(_PLUGIN_LINE, f"PLUGIN = {os.fsencode(plugin)!r}\n")
    code = marshal.dumps(compile(source, "nodeplane-cni", "exec", dont_inherit=True, optimize=2))
    return _SHIM.format(magic=MAGIC_NUMBER, code=code, source=source)


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
        directory.mkdir(parents=True, exist_ok=True)
        for path in build(directory, beside / "nodeplane-cni", find_compiler()):
            print(path)
    except SetupError as exc:
        print(f"cni.calls.shims: {exc}", file=sys.stderr)
        return exc.exit_code
    except OSError as exc:
        print(f"cni.calls.shims: {exc.filename}: {exc.strerror}", file=sys.stderr)
        return 1
    return 0


def _compile(compiler: str, plugin: Path, target: Path) -> None:
    versions = json.dumps(SUPPORTED_VERSIONS, separators=(",", ":"))
    command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(target), str(_HERE / "launcher.c")]
    command += [f"-DPLUGIN={_quote(str(plugin))}", f"-DVERSIONS={_quote(versions)}"]
    # Static: no time goes into a dynamic linker. Not every machine has libc's archive.
    for more in (("-static", *_FREESTANDING), ("-static",), ()):
        done = subprocess.run([*command, *more], capture_output=True, check=False, timeout=_WITHIN_S)
        if done.returncode == 0:
            return
    raise SetupError(f"{compiler} failed: {done.stderr.decode(errors='replace').strip()}")


def _quote(text: str) -> str:
    """Write a text as a string of C."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _is_older(made: Path, source: Path) -> bool:
    return not made.exists() or made.stat().st_mtime_ns < source.stat().st_mtime_ns


def _put(path: Path, content: bytes) -> None:
    draft = path.with_suffix(".draft")
    draft.write_bytes(content)
    draft.chmod(0o755)
    draft.rename(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
