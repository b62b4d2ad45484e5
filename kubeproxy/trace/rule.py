"""One rule on one packet: what it looks at, what it finds, and every way that it may end.

What a draw decides is followed for all of its numbers at once: a rule that leads to one of a thousand
endpoints ends in a thousand branches after one look into the map.
"""

import struct
from collections.abc import Callable
from fractions import Fraction
from ipaddress import ip_address
from typing import Any

from msgspec.structs import replace

from kubeproxy.trace import loads
from kubeproxy.trace.contents import Contents, Drawn
from kubeproxy.trace.packet import Change, State, with_port
from kubeproxy.trace.registers import ADDRESS_TYPES, DrawnError, Label, UntoldError
from kubeproxy.trace.run import NEXT, NO_MATCH, Branch, Effect, Run, Spread, settle
from kubeproxy.trace.words import describe_data, describe_key
from nodeplane.datapath.nft import expression as nft
from nodeplane.datapath.nft.decode import decode_expressions, decode_verdict
from nodeplane.datapath.nft.listing import ListedRule, TableListing
from nodeplane.datapath.routing import LOCAL, UNICAST, Routing

_TCP = 6
_BROADCAST, _MULTICAST = 3, 5  # RTN_…

_Result = Effect | list[Run] | None
"""How a rule ends at an expression, the runs that it goes on as, or None to go on."""


class RuleReader:
    """Follows the rules of one table."""

    def __init__(self, table: TableListing, routing: Routing) -> None:
        self._contents = {name: Contents(listed) for name, listed in table.maps.items()}
        self._routing = routing
        self._decoded: dict[bytes, tuple[nft.Expression, ...]] = {}
        self._spreads: dict[tuple[ListedRule, State], Spread] = {}
        self._address_types: dict[bytes, int] = {}
        self._handlers: dict[type, Callable[[Run, Any], _Result]] = {
            nft.LoadPayload: loads.load_payload,
            nft.LoadMeta: loads.load_meta,
            nft.StoreMeta: loads.store_meta,
            nft.LoadCt: loads.load_ct,
            nft.LoadAddressType: self._load_address_type,
            nft.LoadConstant: loads.load_constant,
            nft.Verdict: _end,
            nft.Mask: loads.mask,
            nft.Compare: loads.compare,
            nft.Lookup: self._look_up,
            nft.LoadNumber: loads.load_number,
            nft.LoadHash: loads.load_hash,
            nft.ChangeElement: self._change_element,
            nft.Translate: _translate,
            nft.Masquerade: _masquerade,
            nft.Reject: _reject,
            nft.Passive: lambda _run, _expression: None,
            nft.Unknown: _give_up,
        }

    def follow(self, rule: ListedRule, state: State) -> Spread:
        """Return all ways that a rule may end for a packet."""
        known = self._spreads.get((rule, state))
        if known is None:
            known = self._spreads[rule, state] = self._follow(rule, state)
        return known

    def address_type(self, address: bytes) -> int:
        """Return what `fib … type` says of an address."""
        if address not in self._address_types:
            route = self._routing.find(address)
            kind = route.kind if route else UNICAST
            # For IPv4 the kernel looks into the table of local addresses alone (inet_dev_addr_type).
            known = {LOCAL, _BROADCAST, _MULTICAST}
            self._address_types[address] = kind if kind in known or len(address) == 16 else UNICAST
        return self._address_types[address]

    def _follow(self, rule: ListedRule, state: State) -> Spread:
        if rule.expressions not in self._decoded:
            self._decoded[rule.expressions] = decode_expressions(rule.expressions)
        expressions = self._decoded[rule.expressions]
        chances: dict[tuple[Effect, State], Fraction] = {}
        found: dict[str, None] = {}
        then: dict[str, None] = {}
        pending = [Run(state)]
        while pending:
            run = pending.pop()
            result = self._advance(run, expressions)
            if isinstance(result, list):
                pending += reversed(result)
                continue
            if result.kind in {"drop", "reset", "unreachable"}:
                result = Effect(result.kind, rule.comment)
            key = result, run.state
            chances[key] = chances.get(key, Fraction(0)) + run.chance
            found.update(dict.fromkeys(run.found))
            then.update(dict.fromkeys(run.then + _describe_end(result)))
        branches = tuple(Branch(effect, after, chance) for (effect, after), chance in chances.items())
        return Spread(branches, tuple(found), tuple(then))

    def _advance(self, run: Run, expressions: tuple[nft.Expression, ...]) -> Effect | list[Run]:
        """Go through a rule to its end, or to where it parts."""
        if run.end is not None:
            return run.end
        try:
            while run.place < len(expressions):
                expression = expressions[run.place]
                run.place += 1
                result = self._handlers[type(expression)](run, expression)
                if result is not None:
                    return result
        except UntoldError as exc:
            return Effect("unclear", str(exc))
        except DrawnError as exc:
            run.place -= 1
            return settle(run, exc.place, exc.drawn)
        return NEXT

    def _load_address_type(self, run: Run, load: nft.LoadAddressType) -> None:
        address = run.state.source if load.field == "saddr" else run.state.destination
        kind = self.address_type(address)
        which = "source" if load.field == "saddr" else "destination"
        label = Label(f"{which} {ip_address(address)} is {ADDRESS_TYPES.get(kind, kind)}, and that", "type")
        run.registers.load(load.register, struct.pack("=I", kind), label)

    def _look_up(self, run: Run, lookup: nft.Lookup) -> _Result:
        contents = self._open(lookup.map_name)
        words = run.registers.known_words(lookup.key, contents.listed.key_bytes)
        draws = [(place, word) for place, word in enumerate(words) if isinstance(word, Drawn)]
        where = f"{lookup.map_name}[{describe_key(lookup.map_name, contents.listed, words)}]"
        if not draws:
            key = b"".join(word for word in words if isinstance(word, bytes))[: contents.listed.key_bytes]
            data = _find(run.state, contents, lookup.map_name, key)
            left = _time_left(contents, run.state, lookup.map_name, key)
            return self._found(run, lookup, where, data, left)
        place, drawn = draws[0]
        is_changed = any(change.map_name == lookup.map_name for change in run.state.changes)
        if len(draws) > 1 or is_changed or contents.listed.field_bytes:
            raise DrawnError(lookup.key + place, drawn)
        rest = [word if isinstance(word, bytes) else bytes(4) for word in words]
        found, missing = contents.find_drawn(rest, place, drawn)
        runs = []
        for data, count in [*found.items(), *([(None, missing)] if missing else [])]:
            share = Fraction(count, drawn.modulus)
            other = run.fork(share)
            other.end = self._found(other, lookup, where, data, f" ({share})" if share != 1 else "")
            runs.append(other)
        return runs

    def _found(
        self, run: Run, lookup: nft.Lookup, where: str, data: bytes | None, note: str
    ) -> Effect | None:
        """Go on with what a lookup has found."""
        if data is None:
            run.found += (f"{where}: not there{note}",)
            return None if lookup.is_inverted and lookup.value is None else NO_MATCH
        if lookup.value is None:
            run.found += (f"{where}: there{note}",)
            return NO_MATCH if lookup.is_inverted else None
        listed = self._contents[lookup.map_name].listed
        run.found += (f"{where} = {describe_data(lookup.map_name, listed, data)}{note}",)
        if lookup.value == nft.VERDICT_REGISTER:
            return _end(run, decode_verdict(data))
        run.registers.load(lookup.value, data)
        return None

    def _change_element(self, run: Run, change: nft.ChangeElement) -> Effect | None:
        contents = self._open(change.map_name)
        listed = contents.listed
        key = run.registers.read(change.key, listed.key_bytes)
        words = [key[at : at + 4] for at in range(0, len(key), 4)]
        where = f"{change.map_name}[{describe_key(change.map_name, listed, words)}]"
        known = _find(run.state, contents, change.map_name, key)
        if change.operation == "delete":
            run.then += (f"forget {where}",)
            data, timeout_s = None, 0.0
        elif known is None:
            if listed.size and len(listed.elements) >= listed.size:
                run.found += (f"{change.map_name} is full",)
                return NO_MATCH
            data = run.registers.read(change.data, listed.data_bytes) if change.data is not None else b""
            timeout_s = change.timeout_s
            run.then += (
                f"remember {where} = {describe_data(change.map_name, listed, data)}{_for(timeout_s)}",
            )
        else:
            # The data of an element that is there stays as it is; only `update` starts its time anew.
            if change.operation == "add":
                return None
            data, timeout_s = known, change.timeout_s
            what = describe_data(change.map_name, listed, data)
            run.then += (f"renew {where} = {what}{_for(timeout_s)}",)
        others = tuple(
            each for each in run.state.changes if (each.map_name, each.key) != (change.map_name, key)
        )
        written = Change(change.map_name, key, data, timeout_s)
        run.state = replace(run.state, changes=(*others, written))
        return None

    def _open(self, map_name: str) -> Contents:
        contents = self._contents.get(map_name)
        if contents is None:
            raise UntoldError(f"there is no map {map_name}")
        return contents


def _find(state: State, contents: Contents, map_name: str, key: bytes) -> bytes | None:
    """Return the data of a key, as the packet's own changes have left it."""
    for change in state.changes:
        if (change.map_name, change.key) == (map_name, key):
            return change.data
    return contents.find(key)


def _time_left(contents: Contents, state: State, map_name: str, key: bytes) -> str:
    if any((change.map_name, change.key) == (map_name, key) for change in state.changes):
        return ""
    left_s = contents.listed.expires_s.get(key)
    return "" if left_s is None else f", {left_s:.0f} s left"


def _translate(run: Run, translate: nft.Translate) -> Effect:
    state = run.state
    is_source = translate.kind == "snat"
    address, port = (state.source, state.source_port) if is_source else (state.destination, state.port)
    if translate.address is not None:
        address = run.registers.read(translate.address, len(address))
    if translate.port is not None:
        port = int.from_bytes(run.registers.read(translate.port, 2), "big")
    if is_source:
        run.state = replace(state, source=address, source_port=port)
        run.then += (f"source becomes {ip_address(address)}",)
        return Effect("bound")
    is_other = (address, port) != (state.destination, state.port)
    run.state = replace(state, destination=address, port=port, is_translated=state.is_translated or is_other)
    run.then += (f"to {with_port(ip_address(address), port or 0)}",)
    return Effect("bound")


def _masquerade(run: Run, _expression: nft.Masquerade) -> Effect:
    run.state = replace(run.state, is_masqueraded=True)
    run.then += ("masquerade",)
    return Effect("bound")


def _reject(run: Run, reject: nft.Reject) -> Effect:
    if not reject.with_reset:
        return Effect("unreachable")
    # The kernel has no reset for other protocols: the packet is dropped and nobody is told.
    return Effect("reset" if run.state.protocol == _TCP else "drop")


def _end(_run: Run, verdict: nft.Verdict) -> Effect | None:
    match verdict.name:
        case "continue":
            return None
        case "jump" | "goto":
            return Effect(verdict.name, verdict.chain)
        case "return" | "accept" | "drop":
            return Effect(verdict.name)
        case _:
            return Effect("unclear", f"verdict {verdict.name} is not read")


def _give_up(_run: Run, expression: nft.Unknown) -> Effect:
    return Effect("unclear", f"expression {expression.name!r} is not read")


def _describe_end(effect: Effect) -> tuple[str, ...]:
    match effect.kind:
        case "next" | "accept" | "bound":
            return ()
        case "jump" | "goto":
            return (f"{effect.kind} {effect.detail}",)
        case "reset":
            return ("refuse: TCP reset",)
        case "unreachable":
            return ("refuse: ICMP port unreachable",)
        case "unclear":
            return (f"can't tell: {effect.detail}",)
        case _:
            return (effect.kind,)


def _for(timeout_s: float) -> str:
    return f" for {timeout_s:.0f} s" if timeout_s else ""
