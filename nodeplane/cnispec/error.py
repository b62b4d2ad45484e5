"""What a CNI runtime is told of a failure (SPEC section 5, "Error")."""

from collections.abc import Mapping
from enum import IntEnum

import msgspec

from nodeplane.errors import ApiError, ConfigError, KernelError, NodeplaneError


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


class _ErrorResult(msgspec.Struct, rename="camel", omit_defaults=True):
    cni_version: str
    code: int
    msg: str
    details: str = ""


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
