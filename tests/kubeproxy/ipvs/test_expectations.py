"""The short run of the matrix leaves out no kind of row."""

from tests.kubeproxy.ipvs.expectations import choose_few, expect
from tests.kubeproxy.matrix.rows import CLIENTS


def test_few_are_telling() -> None:
    """Each client, door, protocol and family asks, and each outcome comes."""
    rows = choose_few()

    assert {row.client for row in rows} >= {*CLIENTS}
    assert {row.door.partition(":")[0] for row in rows} == {"cluster", "external", "lb", "wan"}
    assert {(row.protocol, row.version) for row in rows} >= {("tcp", 4), ("tcp", 6), ("udp", 4), ("udp", 6)}
    assert "sctp" in {row.protocol for row in rows}
    assert {expect(row) for row in rows} > {"refuse", "drop", "untouched"}
