"""The way of a connection's first packet through a listed table: `trace`.

An interpreter of what the kernel holds. It knows nothing of Services, and nothing of which rules there
should be: it says what the table will do, be it as kubeproxy writes it or damaged. All outcomes of a draw are
followed at once, as a set of packets with their probabilities; packets that have become equal are one again.

    comes in by an interface:   prerouting ─► (routing) ─┬─► input           for this node
                                                         └─► forward ─► postrouting
    made by a process here:     output ─► postrouting

In mode ipvs a packet for this node may be for a virtual service: behind input and output IPVS leads it on, to
postrouting, or to this node itself.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from ipaddress import ip_address
from typing import Protocol

from msgspec.structs import replace

from kubeproxy.trace.balanced import Balanced
from kubeproxy.trace.journal import Journal
from kubeproxy.trace.packet import Change, Packet, State, first_state
from kubeproxy.trace.result import Outcome, OutcomeKind, Step, Trace
from kubeproxy.trace.rule import RuleReader
from kubeproxy.trace.run import Effect, Spread
from nodeplane.datapath.nft.listing import ListedChain, TableListing
from nodeplane.datapath.routing import LOCAL, Routing, masquerade_source

_PREROUTING, _INPUT, _FORWARD, _OUTPUT, _POSTROUTING = range(5)  # netfilter.h
_JUMPS = 16  # NFT_JUMP_STACK_SIZE: the kernel takes no table with more


class Balancer(Protocol):
    """What tells of virtual services: `kubeproxy.ipvs.lookup`."""

    def find(self, state: State) -> Balanced | None:
        """Say what IPVS makes of a packet; None if it is for no virtual service."""
        ...


States = dict[State, Fraction]
"""Packets, and how likely each is."""


def trace(table: TableListing, packet: Packet, routing: Routing, balancer: Balancer | None = None) -> Trace:
    """Say what a table, and IPVS as `balancer` tells, will do with a connection's first packet, and why."""
    return _Walk(table, routing, packet, balancer).run()


class _Walk:
    """One packet's way."""

    def __init__(
        self, table: TableListing, routing: Routing, packet: Packet, balancer: Balancer | None
    ) -> None:
        self._balancer = balancer
        self._table = table
        self._routing = routing
        self._packet = packet
        self._reader = RuleReader(table, routing)
        self._journal = Journal()
        self._outcomes: dict[Outcome, Fraction] = {}
        self._links: dict[bytes, str] = {}

    def run(self) -> Trace:
        """Walk."""
        states: States = {first_state(self._packet): Fraction(1)}
        if self._packet.link is None:
            if self._routing.find(self._packet.destination.packed) is None:
                # A process's packet is routed before any rule sees it.
                self._end("unroutable", f"no route to {self._packet.destination}", Fraction(1))
                states = {}
            balanced, leaving = self._balance(self._pass_hook(_OUTPUT, states))
            leaving = _merge([*leaving.items(), *balanced.items()])
        else:
            states = self._pass_hook(_PREROUTING, states)
            local = {state: weight for state, weight in states.items() if self._is_local(state)}
            # Routing a packet onward sets its priority from its type of service (ip_forward).
            onward = _merge(
                (replace(state, priority=0, link_out=self._link_out(state)), weight)
                for state, weight in states.items()
                if state not in local
            )
            balanced, staying = self._balance(self._pass_hook(_INPUT, local))
            here = {state: weight for state, weight in balanced.items() if self._is_local(state)}
            self._arrive(_merge([*staying.items(), *here.items()]))
            forwarded = self._pass_hook(_FORWARD, onward)
            away = ((state, weight) for state, weight in balanced.items() if state not in here)
            leaving = _merge([*forwarded.items(), *away])
        leaving = _merge(
            (replace(state, link_out=self._link_out(state)), weight) for state, weight in leaving.items()
        )
        self._arrive(self._pass_hook(_POSTROUTING, leaving))
        outcomes = [replace(outcome, probability=weight) for outcome, weight in self._outcomes.items()]
        outcomes.sort(key=_order)
        return Trace(self._packet, tuple(self._journal.steps()), tuple(outcomes))

    def _balance(self, states: States) -> tuple[States, States]:
        """Return the packets that IPVS leads on, and those that are for no virtual service."""
        led: list[tuple[State, Fraction]] = []
        rest: States = {}
        for state, weight in states.items():
            found = self._balancer.find(state) if self._balancer is not None else None
            if found is None:
                rest[state] = weight
                continue
            names = tuple(f"{server} ({share})" for server, share in found.shares.items())
            self._journal.put(
                Step(
                    chain="ipvs",
                    rule=1,
                    repeats=1,
                    reason=found.service,
                    found=(found.how,),
                    then=tuple(f"to {name}" for name in names) or ("refuse: ICMP port unreachable",),
                    probability=weight,
                )
            )
            if not found.shares:
                self._end("unreachable", "IPVS has no real server for it", weight)
            for server, share in found.shares.items():
                changes = state.changes
                if found.remembered_s:
                    kept = Change("ipvs", state.source, server.address, found.remembered_s)
                    changes = (*changes, kept)
                after = replace(
                    state,
                    destination=server.address,
                    port=server.port,
                    is_translated=True,
                    changes=changes,
                )
                led.append((after, weight * share))
        return _merge(led), rest

    def _is_local(self, state: State) -> bool:
        return self._reader.address_type(state.destination) == LOCAL

    def _link_out(self, state: State) -> str:
        if state.destination not in self._links:
            route = self._routing.find(state.destination)
            self._links[state.destination] = route.link if route else ""
        return self._links[state.destination]

    def _pass_hook(self, hook: int, states: States) -> States:
        """Walk the base chains of a hook in order; return the packets that come out."""
        bases = [
            (chain.hook.priority, name, chain)
            for name, chain in self._table.chains.items()
            if chain.hook is not None and chain.hook.number == hook
        ]
        # A connection is translated once in each direction: who is, passes other nat chains of the hook by.
        bound: States = {}
        for _, name, chain in sorted(bases, key=lambda base: base[:2]):
            is_nat = chain.hook is not None and chain.hook.kind == "nat"
            if not is_nat:
                bound, _ = self._pass_base(name, chain, bound)
            states, translated = self._pass_base(name, chain, states)
            bound = _merge([*bound.items(), *translated.items()])
        return _merge([*states.items(), *bound.items()])

    def _pass_base(self, name: str, chain: ListedChain, states: States) -> tuple[States, States]:
        """Walk a base chain; return the packets that come through, and those that were translated in it."""
        run = _ChainRun(self._table, self._reader, self._journal)
        accepted = list(run.walk(name, states, ()).items())
        translated: list[tuple[State, Fraction]] = []
        if not chain.is_open:
            self._end("drop", f"the policy of {name}", sum((weight for _, weight in accepted), Fraction(0)))
            accepted = []
        for effect, state, weight in run.ended():
            match effect.kind:
                case "accept":
                    accepted.append((state, weight))
                case "bound":
                    translated.append((state, weight))
                case "drop" | "reset" | "unreachable" | "unclear" as kind:
                    self._end(kind, effect.detail, weight)
        return _merge(accepted), _merge(translated)

    def _end(self, kind: OutcomeKind, reason: str, weight: Fraction) -> None:
        if weight:
            self._add(Outcome(kind, Fraction(0), reason=reason), weight)

    def _arrive(self, states: States) -> None:
        for state, weight in states.items():
            client = self._packet.source
            source: bytes | None = state.source
            if state.is_masqueraded:
                source = masquerade_source(self._routing, state.destination)
            seen = None if source is None else ip_address(source)
            if not state.is_translated:
                outcome = Outcome("untouched", Fraction(0), source=seen, is_masqueraded=seen != client)
            else:
                outcome = Outcome(
                    kind="endpoint",
                    probability=Fraction(0),
                    address=ip_address(state.destination),
                    port=state.port,
                    source=seen,
                    is_masqueraded=state.is_masqueraded or seen != client,
                    is_hairpin=state.destination == client.packed,
                    remembered_s=max(
                        (change.timeout_s for change in state.changes if change.data is not None), default=0.0
                    ),
                    reason="" if state.link_out or self._is_local(state) else "no route to it",
                )
            self._add(outcome, weight)

    def _add(self, outcome: Outcome, weight: Fraction) -> None:
        self._outcomes[outcome] = self._outcomes.get(outcome, Fraction(0)) + weight


class _ChainRun:
    """The way through one base chain and all that it leads to."""

    def __init__(self, table: TableListing, reader: RuleReader, journal: Journal) -> None:
        self._table = table
        self._reader = reader
        self._journal = journal
        self._ends = _Spreads()
        self._unclear: list[tuple[Effect, State, Fraction]] = []

    def ended(self) -> Iterator[tuple[Effect, State, Fraction]]:
        """Yield the packets that have got their verdict."""
        yield from self._unclear
        for spread, weight in self._ends:
            for branch in spread.branches:
                if branch.effect.kind not in {"next", "jump", "goto", "return"}:
                    yield branch.effect, branch.state, branch.chance * weight

    def walk(self, name: str, states: States, path: tuple[str, ...]) -> States:
        """Walk one chain; return the packets that come back from it without a verdict."""
        chain = self._table.chains.get(name)
        problem = (
            f"there is no chain {name}"
            if chain is None
            else f"chain {name} leads back to itself"
            if name in path
            else f"more than {_JUMPS} chains deep"
            if len(path) > _JUMPS
            else ""
        )
        if chain is None or problem:
            effect = Effect("unclear", problem)
            self._unclear += [(effect, state, weight) for state, weight in states.items()]
            return {}
        back: list[tuple[State, Fraction]] = []
        returned = _Spreads()
        for number, rule in enumerate(chain.rules, start=1):
            if not states:
                break
            onward: list[tuple[State, Fraction]] = []
            led: dict[Effect, list[tuple[State, Fraction]]] = {}
            for state, weight in states.items():
                spread = self._reader.follow(rule, state)
                self._journal.note(name, number, rule, spread, weight)
                self._ends.add(spread, weight)
                returned.add(spread, weight)
                for branch in spread.branches:
                    if branch.effect.kind == "next":
                        onward.append((branch.state, branch.chance * weight))
                    elif branch.effect.kind in {"jump", "goto"}:
                        led.setdefault(branch.effect, []).append((branch.state, branch.chance * weight))
            for effect, going in led.items():
                through = self.walk(effect.detail, _merge(going), (*path, name))
                (onward if effect.kind == "jump" else back).extend(through.items())
            states = _merge(onward)
        back += states.items()
        back += (
            (branch.state, branch.chance * weight)
            for spread, weight in returned
            for branch in spread.branches
            if branch.effect.kind == "return"
        )
        return _merge(back)


class _Spreads:
    """How often each spread was taken: the same draw in twenty rules is added up once, not twenty times."""

    def __init__(self) -> None:
        self._weights: dict[int, tuple[Spread, Fraction]] = {}

    def add(self, spread: Spread, weight: Fraction) -> None:
        before = self._weights.get(id(spread))
        self._weights[id(spread)] = (spread, weight if before is None else before[1] + weight)

    def __iter__(self) -> Iterator[tuple[Spread, Fraction]]:
        return iter(self._weights.values())


def _merge(weighted: Iterable[tuple[State, Fraction]]) -> States:
    merged: States = {}
    for state, weight in weighted:
        before = merged.get(state)
        merged[state] = weight if before is None else before + weight
    return merged


def _order(outcome: Outcome) -> tuple[int, Fraction, int, bytes, int, str]:
    address = b"" if outcome.address is None else outcome.address.packed
    return (
        outcome.kind != "endpoint",
        -outcome.probability,
        len(address),
        address,
        outcome.port,
        outcome.reason,
    )
