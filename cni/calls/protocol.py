"""The frame between a shim and cni-agent: one call, one answer, then the connection ends.

    call      "NPC1"   u32 bytes of the variables   u32 bytes of stdin   variables   stdin
    answer             u32 verdict                  u32 bytes of stdout  stdout
                       u32 bytes of stderr          stderr

Integers are big-endian. The variables are all of the shim's environment, `NAME=VALUE`, each closed by a zero
byte (an IPAM plugin that is run gets them). The verdict is the exit code, or `DECLINED`: the shim is to do
the call in a process of its own. A shim writes stdout even if what stands behind it does not come, or is more
than there may be. Simple enough for thirty lines of C (`launcher.c`); the Python shim
(`shim.py`) can't import this module, and `tests/cni/calls/test_shim.py` holds all three to the same bytes.
"""

import os
import struct
from collections.abc import Mapping

import msgspec

from nodeplane.errors import ProtocolError

MAGIC = b"NPC1"
DECLINED = 255

# What execve takes for one string is 128 KiB, and a container runtime's environment is far below that. The
# shims do what is larger in their own process.
ENVIRONMENT_BYTES = 1 << 18
CONFIG_BYTES = 1 << 20
STDOUT_BYTES = 1 << 22
STDERR_BYTES = 1 << 16

_CALL = struct.Struct(">4sII")
_ANSWER = struct.Struct(">II")
_SIZE = struct.Struct(">I")
CALL_HEAD_BYTES = _CALL.size


class CallHead(msgspec.Struct, frozen=True):
    """How long the two parts of a call are."""

    environment_bytes: int
    config_bytes: int


def render_call(environ: Mapping[str, str], config: bytes) -> bytes:
    """Render a call, as the shims do."""
    block = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in environ.items())
    return _CALL.pack(MAGIC, len(block), len(config)) + block + config


def decode_call_head(data: bytes) -> CallHead:
    """Decode the first `CALL_HEAD_BYTES` of a call.

    Raises:
        ProtocolError: it is none, or one that is too large.
    """
    if len(data) != _CALL.size:
        raise ProtocolError(f"expected a call of at least {_CALL.size} bytes, got {len(data)}")
    magic, environment_bytes, config_bytes = _CALL.unpack(data)
    if magic != MAGIC:
        raise ProtocolError(f"expected a call that begins with {MAGIC!r}, got {magic!r}")
    for what, size, limit in (
        ("variables", environment_bytes, ENVIRONMENT_BYTES),
        ("stdin", config_bytes, CONFIG_BYTES),
    ):
        if size > limit:
            raise ProtocolError(f"expected at most {limit} bytes of {what}, got {size}")
    return CallHead(environment_bytes, config_bytes)


def decode_call(head: CallHead, body: bytes) -> tuple[dict[str, str], bytes]:
    """Decode what follows the head: the variables and stdin.

    Raises:
        ProtocolError: the call ends too early, or its variables are none.
    """
    expected = head.environment_bytes + head.config_bytes
    if len(body) != expected:
        raise ProtocolError(f"expected a call with {expected} bytes, got {len(body)}")
    block, config = body[: head.environment_bytes], body[head.environment_bytes :]
    if block and not block.endswith(b"\0"):
        raise ProtocolError("expected variables that end with a zero byte")
    environ: dict[str, str] = {}
    for entry in block.split(b"\0")[:-1]:
        name, equals, value = os.fsdecode(entry).partition("=")
        # An entry without "=" is legal in an environment and means nothing.
        if equals:
            # Of two the first counts, as for getenv(3) and the plugin in its own process.
            environ.setdefault(name, value)
    return environ, config


def render_answer(verdict: int, stdout: bytes, stderr: bytes = b"") -> bytes:
    """Render an answer."""
    return _ANSWER.pack(verdict, len(stdout)) + stdout + _SIZE.pack(len(stderr)) + stderr


def decode_answer(data: bytes) -> tuple[int, bytes, bytes]:
    """Decode a whole answer: the verdict, stdout and stderr.

    Raises:
        ProtocolError: it is none.
    """
    if len(data) < _ANSWER.size:
        raise ProtocolError(f"expected an answer of at least {_ANSWER.size} bytes, got {len(data)}")
    verdict, size = _ANSWER.unpack_from(data)
    end = _ANSWER.size + size
    if verdict > DECLINED or size > STDOUT_BYTES or len(data) < end:
        raise ProtocolError(f"expected an answer of {_ANSWER.size} + {size} bytes, got {len(data)}")
    return verdict, data[_ANSWER.size : end], _decode_stderr(data[end:])


def _decode_stderr(tail: bytes) -> bytes:
    """Return what stands behind stdout; nothing if it is not whole: the answer holds all the same."""
    if len(tail) < _SIZE.size:
        return b""
    (size,) = _SIZE.unpack_from(tail)
    stderr = tail[_SIZE.size :]
    return stderr if len(stderr) == size <= STDERR_BYTES else b""
