"""What the rows of the matrix say in mode ipvs, and which of them a short run asks.

The expectations are those of mode nftables but for what is listed here; docs/kubeproxy.md says why.
"""

import os

from tests.kubeproxy.matrix.rows import ROWS, Row

_EVERY = "pod* mate* away*"
_FEW = (
    # Masqueraded, or not; by the mark of policy Local and without; an endpoint that meets itself.
    "web-cluster-from-pod-tcp-ipv4",
    "web-cluster-from-node-udp-ipv6",
    "web-lb-from-client-sctp-ipv4",
    "web-external-from-other-tcp-ipv6",
    "only-mate-cluster-from-mate-tcp-ipv4",
    "local-wan-from-client-tcp-ipv4",
    "local-wan-from-node-udp-ipv6",
    "local-away-lb-from-pod-tcp-ipv4",
    "internal-cluster-from-pod-tcp-ipv6",
    # Nobody there, or none here.
    "empty-cluster-from-client-tcp-ipv4",
    "empty-lb-from-node-udp-ipv6",
    "local-away-lb-from-client-tcp-ipv6",
    "internal-away-cluster-from-client-udp-ipv4",
    # Not let in, nobody's port, not ours.
    "for-pods-lb-from-client-tcp-ipv6",
    "for-clients-lb-from-node-tcp-ipv4",
    "web-lb-port-81-from-client-tcp-ipv6",
    "web-cluster-port-81-from-node-tcp-ipv4",
    "others-wan-from-pod-tcp-ipv6",
)
_OF_CLIENTS = {
    *("for-clients", "for-clients-v4", "for-all-v4-clients-v6"),
    *("for-clients-local", "for-clients-local-away"),
}


def asked_rows() -> tuple[Row, ...]:
    """Return the rows that this run asks: with IPVS_ROWS=few those of a short one."""
    return choose_few() if os.environ.get("IPVS_ROWS") == "few" else ROWS


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
    """Return a few rows of one state: of each door, client, protocol, family, policy and outcome some."""
    by_name = {str(row): row for row in ROWS}
    return tuple(by_name[f"cluster-cidr-{name}"] for name in _FEW)
