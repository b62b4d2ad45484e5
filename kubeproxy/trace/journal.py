"""What a trace has met on its way, rule by rule."""

from collections.abc import Iterator
from fractions import Fraction

from kubeproxy.trace.result import Step
from kubeproxy.trace.run import Spread
from nodeplane.datapath.nft.listing import ListedRule


class Journal:
    """The rules that were met, in order; rules that are alike, and a rule met again, are one entry."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, ListedRule], _Entry | Step] = {}

    def note(self, chain: str, number: int, rule: ListedRule, spread: Spread, weight: Fraction) -> None:
        """Take down what a rule did to one packet."""
        entry = self._entries.setdefault((chain, rule), _Entry(number))
        if isinstance(entry, _Entry):
            entry.add(number, spread, weight)

    def put(self, step: Step) -> None:
        """Take down what no rule did."""
        rule = ListedRule(step.reason.encode())
        self._entries.setdefault((step.chain, rule), step)

    def steps(self) -> Iterator[Step]:
        """Yield what was taken down."""
        for (chain, rule), entry in self._entries.items():
            if isinstance(entry, Step):
                yield entry
                continue
            yield Step(
                chain=chain,
                rule=entry.number,
                repeats=len(entry.numbers),
                reason=rule.comment,
                found=tuple(entry.found),
                then=tuple(entry.then),
                probability=entry.probability,
            )


class _Entry:
    def __init__(self, number: int) -> None:
        self.number = number
        self.numbers: set[int] = set()
        self.found: dict[str, None] = {}
        self.then: dict[str, None] = {}
        self.probability = Fraction(0)
        self._seen: set[int] = set()

    def add(self, number: int, spread: Spread, weight: Fraction) -> None:
        self.numbers.add(number)
        if id(spread) in self._seen:
            return
        self._seen.add(id(spread))
        if number == self.number:
            self.probability += weight
        self.found.update(dict.fromkeys(spread.found))
        self.then.update(dict.fromkeys(spread.then))
