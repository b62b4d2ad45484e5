"""Requests one after the other, each outcome one JSON line on stdout; runs in a place of a lab.

It imports little (`python -I -S`), and ends on SIGTERM between two requests: what was begun is told.
"""

import json
import signal
import sys
import threading

from netns_lab.scenarios.request import HeldConnection, Outcome, ask, parse_target

_TIMEOUT_S = 5.0


def main(arguments: list[str]) -> None:
    """Take TARGET PAUSE_S COUNT HELD; a COUNT of 0 is for ever."""
    target, pause_s = parse_target(arguments[0]), float(arguments[1])
    count, held = int(arguments[2]), int(arguments[3])
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: over.set())
    connections = [HeldConnection(target, _TIMEOUT_S) for _ in range(held)]
    number = 0
    while not over.is_set() and (not count or number < count):
        _tell(ask(target, _TIMEOUT_S))
        if connections:
            _tell(connections[number % held].ask())
        number += 1
        if not count or number < count:
            over.wait(pause_s)


def _tell(outcome: Outcome) -> None:
    print(json.dumps(outcome._asdict()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
