"""Each row of the matrix, by the walker and by real packets: both do what the row says."""

import pytest

from tests.kubeproxy.matrix import asking
from tests.kubeproxy.matrix.expected import answers, foretold
from tests.kubeproxy.matrix.lab import Lab
from tests.kubeproxy.matrix.rows import ROWS, Row

pytestmark = pytest.mark.netns

_FATES = {"refuse": "stopped", "drop": "stopped", "untouched": "passed"}
_ANSWERS = {"refuse": {"refuse"}, "drop": {"silence"}, "untouched": {"refuse", "silence"}}
# For what should never be answered; that it is not, the witness tells.
_PATIENCE_S = 0.05
# Of three endpoints one is missed in so many connections once in 10^35 times.
_MANY = 200


@pytest.mark.parametrize("row", [pytest.param(row, id=str(row)) for row in ROWS])
def test_row(lab: Lab, row: Row) -> None:
    """Who answers and what source it sees, or what ends the connection."""
    lab.enter(row.state)
    host, port = lab.door(row.shape, row.door, row.version)
    expected = answers(row.expected, lab.source(row.client, host, row.version), row.version)
    assert foretold(lab.predict(row.client, row.protocol, host, port, row.version), row.version) == expected

    if isinstance(expected, str):
        patience_s = 20 if expected == "refuse" else _PATIENCE_S
        told = lab.ask(row.client, row.protocol, host, port, row.version, patience_s=patience_s)
        assert lab.witness.fate(row.version, row.protocol, told.source_port) == _FATES[expected]
        # What is left to routing the node's own stack refuses if it is for the node; nobody takes the rest.
        assert told.answer in _ANSWERS[expected]
        return
    seen: set[asking.Answer] = set()
    for _ in range(_MANY):
        seen.add(lab.ask(row.client, row.protocol, host, port, row.version).answer)
        if not seen < {*expected}:
            break
    assert seen == {*expected}


def test_there_are_enough_rows() -> None:
    """No two rows ask the same, and the issue's number is reached."""
    assert len({str(row) for row in ROWS}) == len(ROWS) >= 150
