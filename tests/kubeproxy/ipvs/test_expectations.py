"""The short run of the matrix leaves out no kind of row."""

from tests.kubeproxy.ipvs.expectations import choose_few, expect
from tests.kubeproxy.matrix.rows import LINES, ROWS


def test_few_are_telling() -> None:
    """Each outcome of each line comes once; each client, door, state, protocol and family asks."""
    few = choose_few()

    assert len({*few}) == len(few) == sum(len({*map(expect, line.rows())}) for line in LINES)
    assert {row.client for row in few} == {row.client for row in ROWS}
    # Another port of a load balancer's address is as one of an external address.
    assert {row.door for row in few} == {row.door for row in ROWS} - {"external:81"}
    assert {row.state for row in few} == {row.state for row in ROWS}
    assert {(row.protocol, row.version) for row in few} == {(row.protocol, row.version) for row in ROWS}
