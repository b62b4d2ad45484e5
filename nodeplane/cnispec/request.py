"""One call of a plugin: the variables of SPEC section 2 and the head of the configuration, validated."""

import os
import re
from collections.abc import Mapping

import msgspec

from nodeplane.cnispec.config import PLACE, decode_config
from nodeplane.cnispec.error import CniError, ErrorCode
from nodeplane.errors import ConfigError, NodeplaneError

# Oldest first: the order is what "at least 0.4.0" is answered from. Only versions whose results
# `render_result` renders.
SUPPORTED_VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
CURRENT_VERSION = SUPPORTED_VERSIONS[-1]

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


class _Head(msgspec.Struct, rename="camel"):
    """What every network configuration has (SPEC section 1)."""

    # SPEC 0.1.0 did not have the field, so its absence means 0.1.0.
    cni_version: str = "0.1.0"
    name: str = ""


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
