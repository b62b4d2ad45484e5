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

from fractions import Fraction
from ipaddress import ip_address
from typing import Protocol

from msgspec.structs import replace

from kubeproxy.trace.balanced import Balanced
from kubeproxy.trace.chain_run import ChainRun, States, merge
from kubeproxy.trace.journal import Journal
from kubeproxy.trace.packet import Change, Packet, State, first_state
from kubeproxy.trace.result import Outcome, OutcomeKind, Step, Trace
from kubeproxy.trace.rule import RuleReader
from nodeplane.datapath.nft.listing import ListedChain, TableListing
from nodeplane.datapath.routing import LOCAL, Routing, masquerade_source

_PREROUTING, _INPUT, _FORWARD, _OUTPUT, _POSTROUTING = range(5)  # netfilter.h


class Balancer(Protocol):
    """What tells of virtual services: `kubeproxy.ipvs.lookup`."""

    def find(self, state: State) -> Balanced | None:
        """Say what IPVS makes of a packet; None if it is for no virtual service."""
        ...


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
            leaving = merge([*leaving.items(), *balanced.items()])
        else:
            states = self._pass_hook(_PREROUTING, states)
            local = {state: weight for state, weight in states.items() if self._is_local(state)}
            # Routing a packet onward sets its priority from its type of service (ip_forward).
            onward = merge(
                (replace(state, priority=0, link_out=self._link_out(state)), weight)
                for state, weight in states.items()
                if state not in local
            )
            balanced, staying = self._balance(self._pass_hook(_INPUT, local))
            here = {state: weight for state, weight in balanced.items() if self._is_local(state)}
            self._arrive(merge([*staying.items(), *here.items()]))
            forwarded = self._pass_hook(_FORWARD, onward)
            away = ((state, weight) for state, weight in balanced.items() if state not in here)
            leaving = merge([*forwarded.items(), *away])
        leaving = merge(
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
        return merge(led), rest

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
            bound = merge([*bound.items(), *translated.items()])
        return merge([*states.items(), *bound.items()])

    def _pass_base(self, name: str, chain: ListedChain, states: States) -> tuple[States, States]:
        """Walk a base chain; return the packets that come through, and those that were translated in it."""
        run = ChainRun(self._table, self._reader, self._journal)
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
        return merge(accepted), merge(translated)

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
