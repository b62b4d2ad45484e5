"""What a command did to a lab, in order."""

import logging

import msgspec

log = logging.getLogger(__name__)


class Change(msgspec.Struct, frozen=True):
    """One thing that was made, started, attached or removed."""

    action: str
    what: str


class Changes:
    """What a command did, in order."""

    def __init__(self) -> None:
        self.done: list[Change] = []

    def add(self, action: str, what: object) -> None:
        """Take one change down."""
        self.done.append(Change(action, str(what)))
        log.debug("%s %s", action, what)
