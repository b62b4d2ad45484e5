"""The way of packets through the chains that one base chain leads to, until each has its verdict."""

from collections.abc import Iterable, Iterator
from fractions import Fraction

from kubeproxy.trace.journal import Journal
from kubeproxy.trace.packet import State
from kubeproxy.trace.rule import RuleReader
from kubeproxy.trace.run import Effect, Spread
from nodeplane.datapath.nft.listing import TableListing

_JUMPS = 16  # NFT_JUMP_STACK_SIZE: the kernel takes no table with more

States = dict[State, Fraction]
"""Packets, and how likely each is."""


class ChainRun:
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
                through = self.walk(effect.detail, merge(going), (*path, name))
                (onward if effect.kind == "jump" else back).extend(through.items())
            states = merge(onward)
        back += states.items()
        back += (
            (branch.state, branch.chance * weight)
            for spread, weight in returned
            for branch in spread.branches
            if branch.effect.kind == "return"
        )
        return merge(back)


class _Spreads:
    """How often each spread was taken: the same draw in twenty rules is added up once, not twenty times."""

    def __init__(self) -> None:
        self._weights: dict[int, tuple[Spread, Fraction]] = {}

    def add(self, spread: Spread, weight: Fraction) -> None:
        before = self._weights.get(id(spread))
        self._weights[id(spread)] = (spread, weight if before is None else before[1] + weight)

    def __iter__(self) -> Iterator[tuple[Spread, Fraction]]:
        return iter(self._weights.values())


def merge(weighted: Iterable[tuple[State, Fraction]]) -> States:
    """Make packets that have become equal one."""
    merged: States = {}
    for state, weight in weighted:
        before = merged.get(state)
        merged[state] = weight if before is None else before + weight
    return merged
