"""How often the tables are compared with what they should be, while somebody damages them again and again.

Comparing and repairing costs 0.3 s at 10,000 services. Two programs that both take a table for theirs would
do nothing else, so each finding in a row doubles the pause.
"""

from nodeplane.datapath.nft.monitor import Writer

FIRST_S = 1.0
LONGEST_S = 30.0
_FORGOTTEN_S = 60.0
# A process's name is its interpreter's if it was started as `python -m kubeproxy`.
_OUR_NAMES = ("kubeproxy", "python")
_IN_A_ROW = 3


class AuditPace:
    """The pause after an audit, and who is behind the damage."""

    def __init__(self) -> None:
        self.pause_s = FIRST_S
        self._found_in_a_row = 0
        self._last_found_s = 0.0
        self._has_told = False

    def audited(self, now_s: float, *, found: bool) -> None:
        """Take in what an audit has found."""
        if not found or now_s - self._last_found_s > self.pause_s + _FORGOTTEN_S:
            self._found_in_a_row, self.pause_s, self._has_told = 0, FIRST_S, False
        if found:
            self._last_found_s = now_s
            self._found_in_a_row += 1
            if self._found_in_a_row > 1:
                self.pause_s = min(2 * self.pause_s, LONGEST_S)

    def is_rival(self, writer: Writer | None) -> bool:
        """Say, once in a row of findings, that it is another kubeproxy that writes."""
        if self._has_told or self._found_in_a_row < _IN_A_ROW or writer is None:
            return False
        self._has_told = writer.name.startswith(_OUR_NAMES)
        return self._has_told
