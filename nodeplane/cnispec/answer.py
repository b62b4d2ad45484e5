"""One call of a CNI plugin answered: its command run, and the JSON for stdout."""

import os
import sys
from collections.abc import Callable, Mapping

import msgspec

from nodeplane.cniresult import Result, render_result
from nodeplane.cnispec.error import CniError, ErrorCode, cni_error, render_error
from nodeplane.cnispec.request import SUPPORTED_VERSIONS, Request, answer_version, decode_request
from nodeplane.errors import NodeplaneError

# What a plugin does for a command; None answers with no output.
Command = Callable[[Request], Result | None]


class _Versions(msgspec.Struct, rename="camel"):
    cni_version: str
    supported_versions: tuple[str, ...]


def run_plugin(
    about: str, commands: Mapping[str, Command], codes: Mapping[type[NodeplaneError], int] | None = None
) -> int:
    """Serve the one call in this process's environment and stdin; return the exit code.

    Args:
        about: The line for people who start the plugin by hand.
        commands: What to do for each command; VERSION is answered here.
        codes: Error codes of the plugin's own exceptions, by class.
    """
    command = os.environ.get("CNI_COMMAND", "")
    if not command:
        # As the Go library does, so that a curious `nodeplane-cni` in a shell is not an error.
        print(about, file=sys.stderr)
        print(f"CNI protocol versions supported: {', '.join(SUPPORTED_VERSIONS)}", file=sys.stderr)
        return 0
    # Python has None for one that is closed.
    is_read = sys.stdin is not None and not (command == "VERSION" and sys.stdin.isatty())
    config = sys.stdin.buffer.read() if is_read else b""
    try:
        code, stdout = answer_call(os.environ, config, commands, codes)
    except Exception as exc:
        # A defect: the runtime gets its JSON, stderr the traceback.
        _write(render_defect(exc, config))
        raise
    _write(stdout)
    return code


def answer_call(
    environ: Mapping[str, str],
    config: bytes,
    commands: Mapping[str, Command],
    codes: Mapping[type[NodeplaneError], int] | None = None,
) -> tuple[int, bytes]:
    """Answer one call: the exit code and the JSON for stdout; see `run_plugin`."""
    try:
        return 0, serve(environ, config, commands)
    except NodeplaneError as exc:
        return 1, render_error(cni_error(exc, codes or {}), answer_version(config))


def serve(environ: Mapping[str, str], config: bytes, commands: Mapping[str, Command]) -> bytes:
    """Answer one call: the JSON for stdout, empty for a command without a result.

    Raises:
        CniError: the call is not valid.
        NodeplaneError: the command failed.
    """
    if environ.get("CNI_COMMAND") == "VERSION":
        return render_versions(answer_version(config))
    request = decode_request(environ, config)
    command = commands.get(request.command)
    if command is None:
        raise CniError(ErrorCode.INVALID_ENVIRONMENT, f"unknown CNI_COMMAND: {request.command}")
    result = command(request)
    return b"" if result is None else render_result(result, request.version)


def render_defect(exc: Exception, config: bytes) -> bytes:
    """Render what a runtime gets for an exception that is nobody's error but ours."""
    return render_error(CniError(ErrorCode.INTERNAL, "internal error", repr(exc)), answer_version(config))


def tell(text: str) -> None:
    """Say something on the stderr of the call's caller; where an agent does the call, in its log as well."""
    # Late: few calls have something to say.
    import logging

    logging.getLogger(__package__).warning("%s", text)


def render_versions(version: str) -> bytes:
    """Render the answer to VERSION."""
    return msgspec.json.encode(_Versions(version, SUPPORTED_VERSIONS))


def _write(answer: bytes) -> None:
    if answer:
        sys.stdout.buffer.write(answer + b"\n")
        sys.stdout.buffer.flush()
