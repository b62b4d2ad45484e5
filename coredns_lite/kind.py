"""What the metrics tell apart of a query and its reply, and short numbers for it."""

import msgspec

NO_ZONE = "dropped"
"""The zone of what belongs to none, as CoreDNS's metrics have it (plugin/metrics/vars)."""


class Kind(msgspec.Struct, frozen=True):
    """All but who asked and how long either is."""

    zone: str
    rtype: str
    rcode: str
    plugin: str
    dnssec_ok: bool


MALFORMED = Kind(NO_ZONE, "other", "FORMERR", "", dnssec_ok=False)
OVERLOADED = Kind(NO_ZONE, "other", "SERVFAIL", "", dnssec_ok=False)
"""What a worker process refuses because the program has too much to do."""


class KindTable:
    """Numbers for kinds: there are few, and each stays what it is for as long as the process lives.

    The first are the `common`: what a worker process counts by itself must be the same kind in the program.
    """

    def __init__(self, *common: Kind) -> None:
        self._kinds = [*common]
        self._numbers = {kind: number for number, kind in enumerate(common)}

    def number(self, kind: Kind) -> int:
        """Return a kind's number; called from any thread."""
        number = self._numbers.get(kind)
        if number is None:
            self._kinds.append(kind)
            # Of two threads that are the first at once, either number means the kind.
            number = len(self._kinds) - 1
            while self._kinds[number] is not kind:
                number -= 1
            self._numbers[kind] = number
        return number

    def kind(self, number: int) -> Kind:
        """Return the kind of a number."""
        return self._kinds[number]


KINDS = KindTable(MALFORMED, OVERLOADED)
