"""Another plugin, run on behalf of a call (SPEC section 4, "Plugin Delegation").

It gets the call's environment and whole configuration, and its stderr is the caller's. What it answers
becomes a value, what it refuses an error with its own code and text.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from cni.prev_result import PrevResult, decode_result
from nodeplane.cniresult import Result
from nodeplane.cnispec import PLACE, CniError, ErrorCode, Request
from nodeplane.errors import ConfigError
from nodeplane.json_decoder import decode_json

# Runtimes give a call two to four minutes; one that hangs must leave time to undo.
_LIMIT_S = 100


class _Refusal(msgspec.Struct):
    """SPEC section 5, "Error"."""

    code: int
    msg: str
    details: str = ""


def find_plugin(kind: str, path: tuple[str, ...]) -> Path:
    """Return the program of a plugin: the first of its name in the folders of CNI_PATH.

    Raises:
        ConfigError: it is nowhere, or the name is a path.
    """
    if "/" in kind or kind in {".", ".."}:
        raise ConfigError(PLACE, "ipam.type", f"expected a file name, got {kind!r}")
    for folder in path:
        program = Path(folder, kind)
        if program.is_file() and os.access(program, os.X_OK):
            return program
    folders = os.pathsep.join(path) or "no folder"
    raise ConfigError(PLACE, "ipam.type", f"expected a plugin in CNI_PATH ({folders}), found no {kind!r}")


def run_delegate(kind: str, command: str, request: Request) -> Result | None:
    """Run a plugin for a command; return its result, None where the command has none.

    Raises:
        ConfigError: there is no such plugin.
        CniError: it refused, or did not answer as the SPEC wants.
    """
    # Late: their imports take 15 ms.
    import subprocess

    from cni.call_stderr import stderr_for_child

    program = find_plugin(kind, request.path)
    environ: Mapping[str, str] = {**request.environ, "CNI_COMMAND": command}
    try:
        with stderr_for_child() as stderr:
            done = subprocess.run(
                [program],
                input=request.config,
                env=environ,
                stdout=subprocess.PIPE,
                stderr=stderr,
                timeout=_LIMIT_S,
                check=False,
            )
    except subprocess.TimeoutExpired as exc:
        raise CniError(
            ErrorCode.TRY_AGAIN_LATER, f"IPAM plugin {kind} gave no answer to {command}", f"in {_LIMIT_S} s"
        ) from exc
    except OSError as exc:
        raise CniError(
            ErrorCode.IO_FAILURE, f"could not run IPAM plugin {kind}", f"{program}: {exc.strerror}"
        ) from exc
    if done.returncode != 0:
        raise _decode_refusal(kind, command, done.returncode, done.stdout)
    return _decode_answer(kind, done.stdout) if command == "ADD" else None


def _decode_answer(kind: str, stdout: bytes) -> Result:
    try:
        return decode_result(decode_json(stdout, PrevResult), "result")
    except (msgspec.DecodeError, UnicodeDecodeError, ConfigError) as exc:
        raise CniError(
            ErrorCode.DECODING_FAILURE, f"IPAM plugin {kind} answered with no result", str(exc)
        ) from exc


def _decode_refusal(kind: str, command: str, exit_code: int, stdout: bytes) -> CniError:
    try:
        refusal = decode_json(stdout, _Refusal)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = stdout.decode(errors="replace").strip()
        details = f"exit code {exit_code}, stdout {text!r}"
        return CniError(ErrorCode.INTERNAL, f"IPAM plugin {kind} failed at {command}", details)
    return CniError(refusal.code, refusal.msg, refusal.details)
