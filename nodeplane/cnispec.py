"""The envelope of a CNI plugin, spec 1.1.0: environment and stdin in, result or error JSON out.

Decides what is a valid call and how an answer looks; what a command does is its plugin's business. The
results themselves are in `nodeplane.cniresult`. On the path of every pod start: imports stay few.
"""

import os
import re
import sys
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import TypeVar

import msgspec

from nodeplane.cniresult import Result, render_result
from nodeplane.errors import ApiError, ConfigError, KernelError, NodeplaneError

T = TypeVar("T")

# Oldest first: the order is what "at least 0.4.0" is answered from. Only versions whose results
# `render_result` renders.
SUPPORTED_VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
CURRENT_VERSION = SUPPORTED_VERSIONS[-1]
# The place that a ConfigError about stdin names.
PLACE = "network configuration"

# SPEC section 2, "Parameters". CNI_PATH is not required: it is for plugins that delegate, and the SPEC
# (unlike the Go library) calls it optional.
_REQUIRED = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
    "GC": (),
    "STATUS": (),
}
# What is told, compared or written somewhere; CNI_CONTAINERID has letters and digits alone.
_TEXTS = ("CNI_COMMAND", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH")
# SPEC section 2: the version that brought the command.
_SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
# SPEC section 1, `name`, and section 2, CNI_CONTAINERID.
_IDENTIFIER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
# IFNAMSIZ is 16 with the closing zero; the kernel's dev_valid_name() refuses '/', ':' and white space.
_IFNAMSIZ = 16
_INTERFACE = re.compile(r"(?!\.{1,2}\Z)[^/:\s]{1,15}")

# msgspec's words; the field belongs where all other messages have it.
_MISSING = re.compile(r"Object missing required field `(.*)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")


class ErrorCode(IntEnum):
    """SPEC section 5, "Error": what a runtime can act on; 100 and above are a plugin's own."""

    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    UNKNOWN_CONTAINER = 3
    INVALID_ENVIRONMENT = 4
    IO_FAILURE = 5
    DECODING_FAILURE = 6
    INVALID_CONFIG = 7
    # Not in the SPEC's text, but in its Go library: the namespace is not there, or is the plugin's own.
    INVALID_NETNS = 8
    TRY_AGAIN_LATER = 11
    NOT_AVAILABLE = 50
    NOT_AVAILABLE_LIMITED = 51
    # The Go library's code for what is none of the above.
    INTERNAL = 999


class CniError(NodeplaneError):
    """An error as the runtime gets it: `code`, a short `msg`, and longer `details`."""

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        super().__init__(f"{msg}; {details}" if details else msg)
        self.code = int(code)
        self.msg = msg
        self.details = details


class Request(msgspec.Struct, frozen=True):
    """One call of a plugin, validated.

    `netns` is empty when a DEL came without one; `environ` is the whole environment of the call, for plugins
    that are run on its behalf (SPEC section 4).
    """

    command: str
    config: bytes
    version: str = CURRENT_VERSION
    network: str = ""
    container_id: str = ""
    netns: str = ""
    interface: str = ""
    args: Mapping[str, str] = {}
    path: tuple[str, ...] = ()
    environ: Mapping[str, str] = {}


# What a plugin does for a command; None answers with no output.
Command = Callable[[Request], Result | None]


class _Head(msgspec.Struct, rename="camel"):
    """What every network configuration has (SPEC section 1)."""

    # SPEC 0.1.0 did not have the field, so its absence means 0.1.0.
    cni_version: str = "0.1.0"
    name: str = ""


class _ErrorResult(msgspec.Struct, rename="camel", omit_defaults=True):
    cni_version: str
    code: int
    msg: str
    details: str = ""


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


def decode_request(environ: Mapping[str, str], config: bytes) -> Request:
    """Decode and validate the variables of SPEC section 2 and the head of the configuration.

    Raises:
        CniError: with code 4 for a variable, 6 for what is not JSON, 7 for a field, 1 for the version.
    """
    for name in _TEXTS:
        _require_text(name, environ.get(name, ""))
    command = environ.get("CNI_COMMAND", "")
    if command not in _REQUIRED:
        raise CniError(ErrorCode.INVALID_ENVIRONMENT, f"unknown CNI_COMMAND: {command}")
    missing = [name for name in _REQUIRED[command] if not environ.get(name)]
    if missing:
        raise CniError(ErrorCode.INVALID_ENVIRONMENT, f"required env variables [{','.join(missing)}] missing")
    container_id, interface = environ.get("CNI_CONTAINERID", ""), environ.get("CNI_IFNAME", "")
    if container_id and not _IDENTIFIER.fullmatch(container_id):
        expected = "expected letters, digits, '_', '.', '-', the first a letter or a digit"
        raise CniError(
            ErrorCode.INVALID_ENVIRONMENT, "invalid CNI_CONTAINERID", f"{expected}, got {container_id!r}"
        )
    if interface and not (_INTERFACE.fullmatch(interface) and len(interface.encode()) < _IFNAMSIZ):
        expected = "expected 1 to 15 characters without '/', ':' and spaces, not '.' or '..'"
        raise CniError(ErrorCode.INVALID_ENVIRONMENT, "invalid CNI_IFNAME", f"{expected}, got {interface!r}")
    head = _decode_head(config, command)
    return Request(
        command=command,
        config=config,
        version=head.cni_version,
        network=head.name,
        container_id=container_id,
        netns=environ.get("CNI_NETNS", ""),
        interface=interface,
        args=decode_args(environ.get("CNI_ARGS", "")),
        path=tuple(entry for entry in environ.get("CNI_PATH", "").split(os.pathsep) if entry),
        environ=dict(environ),
    )


def _require_text(name: str, value: str) -> None:
    try:
        # What was no UTF-8 is surrogates here (PEP 383), which no JSON and no link's alias can have.
        value.encode()
    except UnicodeEncodeError as exc:
        raise CniError(
            ErrorCode.INVALID_ENVIRONMENT, f"invalid {name}", f"expected UTF-8, got {os.fsencode(value)!r}"
        ) from exc


def decode_args(text: str) -> dict[str, str]:
    """Decode CNI_ARGS: `KEY=VALUE` pairs separated by semicolons."""
    args: dict[str, str] = {}
    for pair in filter(None, text.split(";")):
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise CniError(
                ErrorCode.INVALID_ENVIRONMENT,
                "invalid CNI_ARGS",
                f"expected KEY=VALUE;KEY=VALUE, got {pair!r}",
            )
        args[key] = value
    return args


def decode_config(config: bytes, kind: type[T]) -> T:
    """Decode the network configuration as a plugin's own struct; fields that it lacks are ignored.

    Raises:
        CniError: it is not JSON (code 6).
        ConfigError: a field is missing or of the wrong type.
    """
    try:
        return msgspec.json.decode(config, type=kind)
    except msgspec.ValidationError as exc:
        expected, _, where = str(exc).partition(" - at `$")
        field = where.rstrip("`").lstrip(".")
        missing = _MISSING.fullmatch(expected)
        if missing:
            raise ConfigError(PLACE, f"{field}.{missing[1]}".lstrip("."), "expected, but missing") from exc
        unknown = _UNKNOWN.fullmatch(expected)
        if unknown:
            raise ConfigError(PLACE, f"{field}.{unknown[1]}".lstrip("."), "expected no such field") from exc
        raise ConfigError(PLACE, field, expected[:1].lower() + expected[1:]) from exc
    except msgspec.DecodeError as exc:
        raise CniError(ErrorCode.DECODING_FAILURE, f"{PLACE} is not JSON", str(exc)) from exc
    except UnicodeDecodeError as exc:
        raise CniError(ErrorCode.DECODING_FAILURE, f"{PLACE} is not UTF-8", exc.reason) from exc


def cni_error(exc: NodeplaneError, codes: Mapping[type[NodeplaneError], int]) -> CniError:
    """Translate an error for the runtime; `codes` adds a plugin's own classes."""
    if isinstance(exc, CniError):
        return exc
    known: dict[type[NodeplaneError], int] = {
        **codes,
        ConfigError: ErrorCode.INVALID_CONFIG,
        ApiError: ErrorCode.TRY_AGAIN_LATER,
        KernelError: ErrorCode.IO_FAILURE,
    }
    code = next((known[kind] for kind in type(exc).__mro__ if kind in known), ErrorCode.INTERNAL)
    return CniError(code, str(exc))


def render_error(error: CniError, version: str) -> bytes:
    """Render SPEC section 5's error object."""
    return msgspec.json.encode(_ErrorResult(version, error.code, error.msg, error.details))


def render_defect(exc: Exception, config: bytes) -> bytes:
    """Render what a runtime gets for an exception that is nobody's error but ours."""
    return render_error(CniError(ErrorCode.INTERNAL, "internal error", repr(exc)), answer_version(config))


def tell(text: str) -> None:
    """Say something on the stderr of the call's caller; where an agent does the call, in its log as well."""
    # Late: few calls have something to say.
    import logging

    logging.getLogger(__name__).warning("%s", text)


def render_versions(version: str) -> bytes:
    """Render the answer to VERSION."""
    return msgspec.json.encode(_Versions(version, SUPPORTED_VERSIONS))


def answer_version(config: bytes) -> str:
    """Return the version to answer in: the configuration's if it has one that we speak, else our newest."""
    try:
        version = decode_config(config, _Head).cni_version if config else CURRENT_VERSION
    except NodeplaneError:
        return CURRENT_VERSION
    return version if version in SUPPORTED_VERSIONS else CURRENT_VERSION


def _decode_head(config: bytes, command: str) -> _Head:
    head = decode_config(config, _Head)
    version = head.cni_version or "0.1.0"
    if version not in SUPPORTED_VERSIONS:
        raise CniError(
            ErrorCode.INCOMPATIBLE_VERSION,
            "incompatible CNI versions",
            f"config is {version!r}, plugin supports {', '.join(SUPPORTED_VERSIONS)}",
        )
    since = _SINCE.get(command, SUPPORTED_VERSIONS[0])
    if SUPPORTED_VERSIONS.index(version) < SUPPORTED_VERSIONS.index(since):
        raise CniError(
            ErrorCode.INCOMPATIBLE_VERSION,
            f"config version does not allow {command}",
            f"config is {version!r}, {command} came with {since}",
        )
    if not head.name:
        raise ConfigError(PLACE, "name", "expected the network's name")
    if not _IDENTIFIER.fullmatch(head.name):
        expected = "expected letters, digits, '_', '.', '-', the first a letter or a digit"
        raise ConfigError(PLACE, "name", f"{expected}, got {head.name!r}")
    return msgspec.structs.replace(head, cni_version=version)


def _write(answer: bytes) -> None:
    if answer:
        sys.stdout.buffer.write(answer + b"\n")
        sys.stdout.buffer.flush()
