"""What the rows of the matrix say in mode ipvs, and which of them a short run asks.

The expectations are those of mode nftables but for what is listed here; docs/kubeproxy.md says why.
"""

import os

from tests.kubeproxy.matrix.rows import LINES, ROWS, Row

_EVERY = "pod* mate* away*"
_STRIDE = 3
"""By which the chosen rows take turns among clients, doors, protocols and families."""
_OF_CLIENTS = {
    *("for-clients", "for-clients-v4", "for-clients-local", "for-clients-local-away"),
}


def asked_rows() -> tuple[Row, ...]:
    """Return the rows that this run asks: with IPVS_ROWS=few those of a short one."""
    return choose_few() if os.environ.get("IPVS_ROWS") == "few" else ROWS


def expect(row: Row) -> str:
    """Return a row's expectation in mode ipvs."""
    if row.expected == "untouched" and _is_at_our_address(row):
        # The address is this node's own: what no Service publishes there must not reach the node's sockets.
        return "refuse"
    if row.client == "node" and row.door == "lb" and _is_of_clients(row) and row.expected != "drop":
        # The node's own connections come from the service's address, which is in no range of clients.
        return "drop"
    if row.client == "node" and row.expected == "pod mate away":
        # Nobody else could answer that address.
        return _EVERY
    return row.expected


def _is_of_clients(row: Row) -> bool:
    return row.shape in _OF_CLIENTS or (row.shape == "for-all-v4-clients-v6" and row.version == 6)


def _is_at_our_address(row: Row) -> bool:
    return row.door in {"lb:81", "external:81"} or (row.shape == "tcp-only" and row.door == "lb")


def choose_few() -> tuple[Row, ...]:
    """Return of each line of the table one row for each thing that can become of a connection there."""
    few: list[Row] = []
    for line in LINES:
        outcomes: dict[str, list[Row]] = {}
        for row in line.rows():
            outcomes.setdefault(expect(row), []).append(row)
        few += [rows[len(few) * _STRIDE % len(rows)] for rows in outcomes.values()]
    return tuple(few)
