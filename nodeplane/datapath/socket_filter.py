"""Which notifications of routes never wake their reader: a filter that the kernel runs for a socket.

Classic BPF (socket(7), SO_ATTACH_FILTER), as the kernel runs it over each netlink message before it is queued
(net/netlink/af_netlink.c, do_one_broadcast). It reads words as network-endian, which netlink's are not.
"""

import ctypes
import socket
import struct
from collections.abc import Sequence

# linux/asm-generic/socket.h
_SO_ATTACH_FILTER = 26
# linux/bpf_common.h: BPF_LD with BPF_H or BPF_W and BPF_ABS; BPF_JMP with BPF_JEQ and BPF_K; BPF_RET and BPF_K.
_LOAD_U16, _LOAD_U32, _JUMP_IF_EQUAL, _RETURN = 0x28, 0x20, 0x15, 0x06
_EVERYTHING = (1 << 32) - 1
# struct nlmsghdr: length, type, flags, sequence, port.
_TYPE_OFFSET, _PORT_OFFSET = 4, 12

_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter: code, jump if true, jump if false, operand


def build_drop(kinds: Sequence[int], port: int) -> bytes:
    """Build a filter that drops messages of these types whose author is `port`, and lets all others in."""
    # Jumps count the instructions that they leave out. Behind the tests of the type: load, test, let in, drop.
    tests = (
        _INSTRUCTION.pack(_JUMP_IF_EQUAL, left, 2 if not left else 0, socket.htons(kind))
        for kind, left in zip(kinds, range(len(kinds) - 1, -1, -1), strict=True)
    )
    return b"".join(
        (
            _INSTRUCTION.pack(_LOAD_U16, 0, 0, _TYPE_OFFSET),
            *tests,
            _INSTRUCTION.pack(_LOAD_U32, 0, 0, _PORT_OFFSET),
            _INSTRUCTION.pack(_JUMP_IF_EQUAL, 1, 0, socket.htonl(port)),
            _INSTRUCTION.pack(_RETURN, 0, 0, _EVERYTHING),
            _INSTRUCTION.pack(_RETURN, 0, 0, 0),
        )
    )


def attach(receiver: socket.socket, program: bytes) -> None:
    """Have the kernel run a filter for a socket, in place of one that it runs already.

    Raises:
        OSError: the kernel refused.
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: how many instructions, and where they are.
    where = struct.pack("HP", len(program) // _INSTRUCTION.size, ctypes.addressof(buffer))
    receiver.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, where)
