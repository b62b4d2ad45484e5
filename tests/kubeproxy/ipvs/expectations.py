"""What the rows of the matrix say in mode ipvs, and which of them a short run asks.

The expectations are those of mode nftables but for what is listed here; docs/kubeproxy.md says why.
"""

from tests.kubeproxy.matrix.rows import LINES, ROWS, Row

_EVERY = "pod* mate* away*"
# The node's own refusal goes to the address that it comes from.
_ALWAYS = {f"cluster-cidr-{shape}-from-node-tcp-ipv4" for shape in ("empty-lb", "web-cluster-port-81")}
_STATES = {"cluster-cidr", "no-detector", "lan-ports"}
_OF_CLIENTS = {
    *("for-clients", "for-clients-v4", "for-all-v4-clients-v6"),
    *("for-clients-local", "for-clients-local-away"),
}


def expect(row: Row) -> str:
    """Return a row's expectation in mode ipvs."""
    if row.expected == "untouched" and _is_at_our_address(row):
        # The address is this node's own: what no Service publishes there must not reach the node's sockets.
        return "refuse"
    if row.client == "node" and row.door == "lb" and row.shape in _OF_CLIENTS and row.expected != "drop":
        # The node's own connections come from the service's address, which is in no range of clients.
        return "drop"
    if row.client == "node" and row.expected == "pod mate away":
        # Nobody else could answer that address.
        return _EVERY
    return row.expected


def _is_at_our_address(row: Row) -> bool:
    return row.door in {"lb:81", "external:81"} or (row.shape == "tcp-only" and row.door == "lb")


def choose_few() -> tuple[Row, ...]:
    """Return a row of every fourth line, each time another of its clients, and some of those that differ."""
    rows: list[Row] = []
    for number, line in enumerate([line for line in LINES if line.state in _STATES][::4]):
        mine = [*line.rows()]
        rows.append(mine[number * 5 % len(mine)])
    rows += [row for row in ROWS if str(row) in _ALWAYS]
    different = [row for row in ROWS if row.state in _STATES and expect(row) != row.expected]
    # The states stay together: to enter one takes longer than to ask.
    return tuple(
        sorted({*rows, *different[::8]}, key=lambda row: [each.state for each in LINES].index(row.state))
    )
