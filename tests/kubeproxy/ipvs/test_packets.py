"""The rows of the matrix in mode ipvs, by the walker and by real packets: both do what the row says.

With IPVS_ROWS=few those of a short run, which is part of `make test`: one row for each outcome of each line.
All of them take a quarter of an hour:

    netns-lab vm --module ip_vs --module dummy -- .venv/bin/python -m pytest -m ipvs tests/kubeproxy/ipvs
"""

import pytest

from tests.kubeproxy.ipvs.expectations import asked_rows, expect
from tests.kubeproxy.matrix import asking
from tests.kubeproxy.matrix.expected import answers, foretold
from tests.kubeproxy.matrix.lab import Lab
from tests.kubeproxy.matrix.rows import Row

pytestmark = pytest.mark.ipvs

_FATES = {"refuse": "stopped", "drop": "stopped", "untouched": "passed"}
_ANSWERS = {"refuse": {"refuse"}, "drop": {"silence"}, "untouched": {"refuse", "silence"}}
# For what should never be answered; that it is not, the witness tells.
_PATIENCE_S = 0.2
_MANY = 200


@pytest.mark.parametrize("row", [pytest.param(row, id=str(row)) for row in asked_rows()])
def test_row(lab: Lab, row: Row) -> None:
    """Who answers and what source it sees, or what ends the connection."""
    lab.enter(row.state)
    host, port = lab.door(row.shape, row.door, row.version)
    expected = answers(expect(row), lab.source(row.client, host, row.version), row.version)
    assert foretold(lab.predict(row.client, row.protocol, host, port, row.version), row.version) == expected

    if isinstance(expected, str):
        patience_s = 60 if expected == "refuse" else _PATIENCE_S
        told = lab.ask(row.client, row.protocol, host, port, row.version, patience_s=patience_s)
        assert lab.witness.fate(row.version, row.protocol, told.source_port) == _FATES[expected]
        assert told.answer in _ANSWERS[expected]
        return
    seen: set[asking.Answer] = set()
    for _ in range(_MANY):
        seen.add(lab.ask(row.client, row.protocol, host, port, row.version).answer)
        if not seen < {*expected}:
            break
    assert seen == {*expected}
