"""What a rule's expressions say, as values: the way back from the kernel's bytes that `expr` writes.

Pure, and total: what is not known, or makes no sense, is an `Unknown` with its name. It knows more than
`expr` writes, since whoever asks what a table will do asks about what others have put into it as well.
Attribute numbers: linux/netfilter/nf_tables.h.
"""

from collections.abc import Callable, Mapping

from nodeplane.datapath.nft import netlink as nl
from nodeplane.datapath.nft.expr import VERDICT_CODES
from nodeplane.datapath.nft.expression import (
    REGISTERS,
    VERDICT_REGISTER,
    BaseHeader,
    ChangeElement,
    Compare,
    Expression,
    LoadAddressType,
    LoadConstant,
    LoadCt,
    LoadHash,
    LoadMeta,
    LoadNumber,
    LoadPayload,
    Lookup,
    Mask,
    Masquerade,
    Passive,
    Reject,
    StoreMeta,
    Translate,
    Unknown,
    Verdict,
)

_NOTHING = memoryview(b"")
_VERDICT_NAMES = {code: name for name, code in VERDICT_CODES.items()} | {-1: "continue"}
_OPERATORS = ("==", "!=", "<", "<=", ">", ">=")  # enum nft_cmp_ops
_CHANGES = {0: "add", 1: "update", 2: "delete"}  # enum nft_dynset_ops
_PASSIVE = {"counter", "log", "last"}

_HEADERS: dict[int, BaseHeader] = {1: "network", 2: "transport"}


_Facts = Mapping[int, memoryview]


class _UnreadableError(Exception):
    """An expression's attributes are not those that this module knows."""


def decode_expressions(encoded: bytes) -> tuple[Expression, ...]:
    """Decode the expressions of a rule (NFTA_RULE_EXPRESSIONS)."""
    return tuple(_decode(nl.attribute_map(item)) for _, item in nl.attributes(memoryview(encoded)))


def decode_verdict(data: bytes) -> Verdict:
    """Decode a verdict as `expr.verdict_data` writes it; one that is not known has its number for a name."""
    facts = nl.attribute_map(memoryview(data))
    code = int.from_bytes(bytes(facts.get(1, _NOTHING))[:4].rjust(4, b"\0"), "big", signed=True)
    return Verdict(_VERDICT_NAMES.get(code, str(code)), nl.read_text(facts.get(2, _NOTHING)))


def _decode(item: _Facts) -> Expression:
    name = nl.read_text(item.get(1, _NOTHING))
    if name in _PASSIVE:
        return Passive(name)
    decoder = _DECODERS.get(name)
    if decoder is None:
        return Unknown(name)
    try:
        return decoder(nl.attribute_map(item.get(2, _NOTHING)))
    except _UnreadableError:
        return Unknown(name)


def _number(facts: _Facts, kind: int, default: int | None = None) -> int:
    if kind not in facts:
        if default is None:
            raise _UnreadableError
        return default
    return nl.read_u32(facts[kind][:4])


def _register(facts: _Facts, kind: int) -> int:
    """Return a register's place, the way back of `nft_dump_register` (NFT_REG_1…4, NFT_REG32_00…15)."""
    number = _number(facts, kind)
    if number == 0:
        return VERDICT_REGISTER
    place = (number - 1) * 4 if number <= 4 else number - 8
    if not 0 <= place < REGISTERS or 4 < number < 8:
        raise _UnreadableError
    return place


def _data_register(facts: _Facts, kind: int) -> int:
    register = _register(facts, kind)
    if register == VERDICT_REGISTER:
        raise _UnreadableError
    return register


def _optional_register(facts: _Facts, kind: int) -> int | None:
    return _data_register(facts, kind) if kind in facts else None


def _length(facts: _Facts, kind: int, register: int) -> int:
    return _fits(_number(facts, kind), register)


def _fits(length: int, register: int) -> int:
    if not 0 < length <= (REGISTERS - register) * 4:
        raise _UnreadableError
    return length


def _value(facts: _Facts, kind: int) -> bytes:
    """Return a constant: NFTA_DATA_VALUE inside of an attribute."""
    inside = nl.attribute_map(facts.get(kind, _NOTHING))
    if 1 not in inside:
        raise _UnreadableError
    return bytes(inside[1])


def _text(facts: _Facts, kind: int) -> str:
    if kind not in facts:
        raise _UnreadableError
    return nl.read_text(facts[kind])


def _modulus(facts: _Facts, kind: int) -> int:
    modulus = _number(facts, kind)
    if not modulus:
        raise _UnreadableError
    return modulus


def _refuse(facts: _Facts, *kinds: int) -> None:
    """Give up if one of these attributes is there and not zero."""
    if any(_number(facts, kind, 0) for kind in kinds):
        raise _UnreadableError


def _payload(facts: _Facts) -> Expression:
    _refuse(facts, 5)  # it writes to the packet
    header = _HEADERS.get(_number(facts, 2))
    if header is None:
        raise _UnreadableError
    register = _data_register(facts, 1)
    return LoadPayload(header, _number(facts, 3), _length(facts, 4, register), register)


def _meta(facts: _Facts) -> Expression:
    if 3 in facts:
        return StoreMeta(_number(facts, 2), _data_register(facts, 3))
    return LoadMeta(_number(facts, 2), _data_register(facts, 1))


def _ct(facts: _Facts) -> Expression:
    _refuse(facts, 4)  # it writes to the connection
    return LoadCt(_number(facts, 2), _data_register(facts, 1))


def _fib(facts: _Facts) -> Expression:
    flags = _number(facts, 3)
    if _number(facts, 2) != 3 or flags not in (1, 2):  # NFT_FIB_RESULT_ADDRTYPE; source or destination
        raise _UnreadableError
    return LoadAddressType("saddr" if flags == 1 else "daddr", _data_register(facts, 1))


def _immediate(facts: _Facts) -> Expression:
    register = _register(facts, 1)
    if register != VERDICT_REGISTER:
        value = _value(facts, 2)
        _fits(len(value), register)
        return LoadConstant(value, register)
    inside = nl.attribute_map(facts.get(2, _NOTHING))
    if 2 not in inside:
        raise _UnreadableError
    return decode_verdict(bytes(inside[2]))


def _bitwise(facts: _Facts) -> Expression:
    _refuse(facts, 6)  # a shift, or an operation between registers
    source, register = _data_register(facts, 1), _data_register(facts, 2)
    length = _fits(_length(facts, 3, source), register)
    mask, flip = _value(facts, 4), _value(facts, 5)
    if len(mask) != length or len(flip) != length:
        raise _UnreadableError
    return Mask(source, register, mask, flip)


def _cmp(facts: _Facts) -> Expression:
    operator = _number(facts, 2)
    register, value = _data_register(facts, 1), _value(facts, 3)
    _fits(len(value), register)
    if operator >= len(_OPERATORS):
        raise _UnreadableError
    return Compare(_OPERATORS[operator], value, register)


def _lookup(facts: _Facts) -> Expression:
    value = _register(facts, 3) if 3 in facts else None
    return Lookup(_text(facts, 1), _data_register(facts, 2), value, bool(_number(facts, 5, 0) & 1))


def _numgen(facts: _Facts) -> Expression:
    modulus, is_random = _modulus(facts, 2), _number(facts, 3, 0) == 1
    return LoadNumber(_data_register(facts, 1), modulus, _number(facts, 4, 0), is_random)


def _hash(facts: _Facts) -> Expression:
    _refuse(facts, 7)  # a symmetric hash: of what the kernel chooses
    source = _data_register(facts, 1)
    length = _length(facts, 3, source)
    modulus, seed, offset = _modulus(facts, 4), _number(facts, 5, 0), _number(facts, 6, 0)
    return LoadHash(source, _data_register(facts, 2), length, modulus, seed, offset)


def _dynset(facts: _Facts) -> Expression:
    operation = _CHANGES.get(_number(facts, 3))
    _refuse(facts, 9)  # inverted
    if operation is None:
        raise _UnreadableError
    timeout_ms = int.from_bytes(facts.get(6, _NOTHING)[:8], "big")
    return ChangeElement(
        operation, _text(facts, 1), _data_register(facts, 4), _optional_register(facts, 5), timeout_ms / 1000
    )


def _nat(facts: _Facts) -> Expression:
    kind = _number(facts, 1)
    address, port = _optional_register(facts, 3), _optional_register(facts, 5)
    ends = (_optional_register(facts, 4), _optional_register(facts, 6))
    if kind > 1 or any(end not in (None, start) for start, end in zip((address, port), ends, strict=True)):
        raise _UnreadableError  # a range: the kernel chooses in it
    return Translate("dnat" if kind else "snat", address, port)


def _reject(facts: _Facts) -> Expression:
    return Reject(with_reset=_number(facts, 1) == 1)  # NFT_REJECT_TCP_RST


_DECODERS: dict[str, Callable[[_Facts], Expression]] = {
    "payload": _payload,
    "meta": _meta,
    "ct": _ct,
    "fib": _fib,
    "immediate": _immediate,
    "bitwise": _bitwise,
    "cmp": _cmp,
    "lookup": _lookup,
    "numgen": _numgen,
    "hash": _hash,
    "dynset": _dynset,
    "nat": _nat,
    "masq": lambda _: Masquerade(),
    "reject": _reject,
}
