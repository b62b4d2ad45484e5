"""Which notifications never wake their reader: a filter that the kernel runs for a netlink socket.

Classic BPF (socket(7), SO_ATTACH_FILTER), run over each message before it is queued
(net/netlink/af_netlink.c, do_one_broadcast). It reads words as network-endian, which netlink's are not.

    for each rule:  type is one of its kinds? ── no ──► next rule
                    word at its offset is one of its values? ──► let in, or dropped, as the rule says
    after the last: let in
"""

import ctypes
import socket
import struct
from collections.abc import Iterable

import msgspec

# linux/asm-generic/socket.h
_SO_ATTACH_FILTER = 26
# linux/bpf_common.h: BPF_LD with BPF_ABS and BPF_H or BPF_W; BPF_JMP with BPF_JEQ; BPF_RET. All BPF_K.
_LOAD_U16, _LOAD_U32, _JUMP_IF_EQUAL, _RETURN = 0x28, 0x20, 0x15, 0x06
# How many bytes of the message to keep.
_LET_IN, _DROP = (1 << 32) - 1, 0
# struct nlmsghdr: length, type, flags, sequence, port.
_TYPE_OFFSET, PORT_OFFSET = 4, 12

_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter: code, jump if true, jump if false, operand


class Rule(msgspec.Struct, frozen=True):
    """Of messages of these types, those with one of `values` at `offset` are dropped, or alone let in."""

    kinds: tuple[int, ...]
    offset: int
    values: tuple[int, ...]
    is_let_in: bool


def build_filter(rules: Iterable[Rule]) -> bytes:
    """Build the program."""
    return b"".join(map(_build_rule, rules)) + _INSTRUCTION.pack(_RETURN, 0, 0, _LET_IN)


def attach(receiver: socket.socket, program: bytes) -> None:
    """Have the kernel run a filter for a socket, in place of one that it runs already.

    Raises:
        OSError: the kernel refused.
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: how many instructions, and where they are.
    where = struct.pack("HP", len(program) // _INSTRUCTION.size, ctypes.addressof(buffer))
    receiver.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, where)


def _build_rule(rule: Rule) -> bytes:
    matched, other = (_LET_IN, _DROP) if rule.is_let_in else (_DROP, _LET_IN)
    judge = [
        _INSTRUCTION.pack(_LOAD_U32, 0, 0, rule.offset),
        *_tests(map(socket.htonl, rule.values), over=1),
        _INSTRUCTION.pack(_RETURN, 0, 0, other),
        _INSTRUCTION.pack(_RETURN, 0, 0, matched),
    ]
    return b"".join(
        (
            _INSTRUCTION.pack(_LOAD_U16, 0, 0, _TYPE_OFFSET),
            *_tests(map(socket.htons, rule.kinds), over=0, otherwise=len(judge)),
            *judge,
        )
    )


def _tests(values: Iterable[int], *, over: int, otherwise: int = 0) -> list[bytes]:
    """Build a test for each value: one that holds jumps `over` what follows; the last else `otherwise`."""
    operands = list(values)
    last = len(operands) - 1
    return [
        _INSTRUCTION.pack(_JUMP_IF_EQUAL, last - number + over, otherwise if number == last else 0, operand)
        for number, operand in enumerate(operands)
    ]
