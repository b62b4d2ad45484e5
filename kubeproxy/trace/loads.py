"""What a rule's expressions load into registers, keep of it, and compare it with."""

import operator
import struct
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from kubeproxy.trace.contents import Drawn
from kubeproxy.trace.jhash import choose
from kubeproxy.trace.packet import PROTOCOL_NAMES, State
from kubeproxy.trace.registers import Hidden, Kind, Label, UntoldError, describe_value
from kubeproxy.trace.run import NO_MATCH, Effect, Run
from kubeproxy.trace.words import describe_number
from nodeplane.datapath.nft import expression as nft
from nodeplane.datapath.nft.expr import Family

_PRIORITY, _MARK, _TRACE = 2, 3, 14  # enum nft_meta_keys
_NFPROTO = {"ip": 2, "ip6": 10}
_NEW = 8  # NF_CT_STATE_BIT(IP_CT_NEW)
_DST_NAT = 1 << 5  # IPS_DST_NAT

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def load_payload(run: Run, load: nft.LoadPayload) -> None:
    """Load bytes of a header, as far as they are known."""
    state = run.state
    header = _network_header(state) if load.header == "network" else _transport_header(state)
    part = header[load.offset : load.offset + load.length]
    known = bytes(byte for byte in part if byte is not None)
    if len(known) == load.length:
        run.registers.load(load.register, known, _payload_label(state, load, known))
        return
    is_source_port = load.header == "transport" and load.offset < 2
    what = "the source port" if is_source_port else f"bytes of the {load.header} header"
    run.registers.load_word(load.register, Hidden(what), -(-load.length // 4))


def _network_header(state: State) -> list[int | None]:
    """Return the header as far as it is known (RFC 791, RFC 8200)."""
    if state.family == "ip":
        return [0x45, *[None] * 8, state.protocol, None, None, *state.source, *state.destination]
    return [*[None] * 6, state.protocol, None, *state.source, *state.destination]


def _transport_header(state: State) -> list[int | None]:
    ports = struct.pack(">H", state.port)
    source = [None, None] if state.source_port is None else [*struct.pack(">H", state.source_port)]
    return [*source, *ports]


_NETWORK_FIELDS: dict[tuple[Family, int, int], str] = {
    ("ip", 12, 4): "source",
    ("ip", 16, 4): "destination",
    ("ip6", 8, 16): "source",
    ("ip6", 24, 16): "destination",
}
_TRANSPORT_FIELDS = {(0, 2): "source port", (2, 2): "port"}


def _payload_label(state: State, load: nft.LoadPayload, value: bytes) -> Label:
    place = load.offset, load.length
    kind: Kind = "address"
    name = _NETWORK_FIELDS.get((state.family, *place)) if load.header == "network" else None
    if load.header == "transport":
        name, kind = _TRANSPORT_FIELDS.get(place), "port"
    if name is None:
        return Label(f"{load.header} header at {load.offset}", "number")
    return Label(f"{name} {describe_value(value, kind)}", kind)


def load_meta(run: Run, load: nft.LoadMeta) -> None:
    """Load a property of the packet."""
    state = run.state
    protocol = PROTOCOL_NAMES.get(state.protocol, str(state.protocol))
    properties: dict[int, tuple[bytes, str, Kind]] = {
        _PRIORITY: (struct.pack("=I", state.priority), "priority", "number"),
        _MARK: (struct.pack("=I", state.mark), f"mark {state.mark:#x}", "mark"),
        6: (_name(state.link_in), f"comes in by {state.link_in or 'no interface'}", "name"),
        7: (_name(state.link_out), f"leaves by {state.link_out or 'no interface'}", "name"),
        15: (bytes([_NFPROTO[state.family]]), f"family {state.family}", "number"),
        16: (bytes([state.protocol]), protocol, "protocol"),
    }
    if load.key not in properties:
        run.registers.load_word(load.register, Hidden(f"property {load.key} of the packet"))
        return
    value, text, kind = properties[load.key]
    if load.key == _PRIORITY:
        text += f" {describe_number(value)}"
    run.registers.load(load.register, value, Label(text, kind))


def store_meta(run: Run, store: nft.StoreMeta) -> None:
    """Change a property of the packet."""
    if store.key == _TRACE:
        return
    if store.key not in {_PRIORITY, _MARK}:
        raise UntoldError(f"the rule changes property {store.key} of the packet")
    value = run.registers.read(store.register, 4)
    (number,) = struct.unpack("=I", value)
    if store.key == _MARK:
        run.then += (f"mark {number:#x}",)
        run.state = replace(run.state, mark=number)
    else:
        run.state = replace(run.state, priority=number)


def load_ct(run: Run, load: nft.LoadCt) -> None:
    """Load a property of the connection, which is a new one."""
    status = _DST_NAT if run.state.is_translated else 0
    properties = {
        0: (struct.pack("=I", _NEW), "a new connection"),
        1: (b"\0", "its first direction"),
        2: (struct.pack("=I", status), "translated" if status else "not translated"),
        3: (bytes(4), "no mark of its connection"),
    }
    if load.key in properties:
        value, text = properties[load.key]
        run.registers.load(load.register, value, Label(text, "number"))
    else:
        run.registers.load_word(load.register, Hidden(f"property {load.key} of the connection"))


def load_constant(run: Run, load: nft.LoadConstant) -> None:
    """Load a constant."""
    run.registers.load(load.register, load.value, Label(describe_number(load.value), "number"))


def mask(run: Run, masked: nft.Mask) -> None:
    """Keep some bits and turn some over."""
    value = run.registers.read(masked.source, len(masked.mask))
    label = run.registers.label(masked.source)
    kept = bytes(byte & keep ^ flip for byte, keep, flip in zip(value, masked.mask, masked.flip, strict=True))
    text = f"{label.text} & {describe_value(masked.mask, label.kind)}"
    run.registers.load(masked.register, kept, Label(text, label.kind))


def compare(run: Run, asked: nft.Compare) -> Effect | None:
    """Compare a register with a constant."""
    value = run.registers.read(asked.register, len(asked.value))
    label = run.registers.label(asked.register)
    holds = _COMPARISONS[asked.operator](value, asked.value)
    wanted = describe_value(asked.value, label.kind)
    run.found += (f"{label.text} {asked.operator} {wanted}: {'yes' if holds else 'no'}",)
    return None if holds else NO_MATCH


def load_number(run: Run, load: nft.LoadNumber) -> None:
    """Draw a number."""
    how = "by chance" if load.is_random else "in turn"
    run.registers.load_word(load.register, _drawn(load.modulus, load.offset, how))


def load_hash(run: Run, load: nft.LoadHash) -> None:
    """Hash registers; of what is hidden any number may come."""
    hidden = [word for word in run.registers.words(load.source, load.length) if isinstance(word, Hidden)]
    if hidden:
        how = f"by a hash of {hidden[0].what}"
        run.registers.load_word(load.register, _drawn(load.modulus, load.offset, how))
        return
    value = run.registers.read(load.source, load.length)
    number = choose(value, load.seed, load.modulus) + load.offset & 0xFFFFFFFF
    run.registers.load(load.register, struct.pack("=I", number), Label(f"hash {number}", "number"))


def _drawn(modulus: int, offset: int, how: str) -> bytes | Drawn:
    return Drawn(modulus, offset, how) if modulus > 1 else struct.pack("=I", offset)


def _name(link: str) -> bytes:
    return link.encode()[:15].ljust(16, b"\0")
