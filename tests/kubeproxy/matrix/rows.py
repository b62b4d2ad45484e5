"""The rows of the matrix: who asks for what, and what becomes of it.

The expectations are the reference's: kube-proxy 1.36.2 as it is documented and as it was seen to behave, in
mode nftables (see `expected` for their words). `EVERY` masqueraded is all endpoints, by way of this node.
"""

from collections.abc import Iterator

import msgspec

from tests.kubeproxy.matrix.asking import Protocol

CLIENTS = ("pod", "other", "node", "client")
"""A pod of this node, a pod of another, a process of this node, somebody outside of the cluster."""


class Row(msgspec.Struct, frozen=True):
    """One question and its answer."""

    state: str
    shape: str
    door: str
    client: str
    protocol: Protocol
    version: int
    expected: str

    def __str__(self) -> str:
        door = self.door.replace(":", "-port-")
        return f"{self.state}-{self.shape}-{door}-from-{self.client}-{self.protocol}-ipv{self.version}"


class Line(msgspec.Struct, frozen=True):
    """Rows that differ in client, protocol and family; clients without an expectation do not ask."""

    shape: str
    doors: str
    pod: str = ""
    other: str = ""
    node: str = ""
    client: str = ""
    mate: str = ""
    protocols: tuple[Protocol, ...] = ("tcp", "udp")
    versions: tuple[int, ...] = (4, 6)
    state: str = "cluster-cidr"

    def rows(self) -> Iterator[Row]:
        """Yield them."""
        for door in self.doors.split():
            for client in (*CLIENTS, "mate"):
                expected: str = getattr(self, client)
                if expected:
                    for protocol in self.protocols:
                        for version in self.versions:
                            yield Row(self.state, self.shape, door, client, protocol, version, expected)


def _all(shape: str, doors: str, expected: str, **more: object) -> Line:
    """Return the line of what is the same for every client."""
    return Line(shape, doors, expected, expected, expected, expected, **more)  # type: ignore[arg-type]


_TCP: tuple[Protocol, ...] = ("tcp",)
_UDP: tuple[Protocol, ...] = ("udp",)
_SCTP: tuple[Protocol, ...] = ("sctp",)
_EXTERNAL = "external lb wan lan"
_NODE_PORTS = "wan lan cni"
_ALL = "pod mate away"
_OWN = "pod* mate away"
_EVERY = "pod* mate* away*"

LINES = (
    # ── Cluster policy: every door, every client. Pods of the cluster keep their address toward a cluster IP.
    Line("web", "cluster", _OWN, _ALL, _EVERY, _EVERY),
    _all("web", _EXTERNAL, _EVERY),
    _all("web", "cni", _EVERY, protocols=_TCP),
    Line("web", "cluster", _OWN, _ALL, _EVERY, _EVERY, protocols=_SCTP),
    _all("web", "lb wan", _EVERY, protocols=_SCTP),
    Line("local", "lb", _OWN, _ALL, _EVERY, "pod mate", protocols=_SCTP),
    _all("empty", "cluster lb", "refuse", protocols=_SCTP),
    Line("local-away", "lb", client="drop", protocols=_SCTP),
    # ── Hairpin: masqueraded for an endpoint of this node, and only when it meets itself.
    Line("only-mate", "cluster", pod="mate", mate="mate*"),
    _all("only-mate", "external", "mate*", protocols=_TCP),
    # ── Host network.
    Line("host", "cluster external", client="node away*", protocols=_TCP),
    Line("host", "cluster", pod="node away", other="node away", protocols=_TCP),
    # ── Nobody there.
    _all("empty", f"cluster {_EXTERNAL}", "refuse"),
    _all("all-unready", "cluster wan", "refuse"),
    _all("dying", "cluster lb", "refuse"),
    # ── Readiness.
    Line("some-unready", "cluster", "pod*", "pod", "pod*", "pod*"),
    _all("some-unready", "wan", "pod*", protocols=_TCP),
    Line("unknown-readiness", "cluster", "pod*", "pod", "pod*", "pod*", protocols=_TCP),
    Line("draining", "cluster", "mate away", "mate away", "mate* away*", "mate* away*"),
    _all("draining", "lb wan", "mate* away*", protocols=_TCP),
    Line("draining-beside-ready", "cluster", "pod*", "pod", "pod*", "pod*", protocols=_TCP),
    # ── externalTrafficPolicy Local: clients from outside stay here and keep their address; pods and the
    #    node itself go on to any endpoint, pods with their own address.
    Line("local", _EXTERNAL, _OWN, _ALL, _EVERY, "pod mate"),
    Line("local", "cluster", _OWN, _ALL, _EVERY, _EVERY, protocols=_TCP),
    Line("local-here", "lb", "pod* mate", "pod mate", "pod* mate*", "pod mate", protocols=_TCP),
    Line("local-away", _EXTERNAL, "away", "", "away*", "drop"),
    Line("local-away", "cluster", "away", "", "away*", "away*", protocols=_TCP),
    _all("local-empty", _EXTERNAL, "refuse"),
    Line("local-draining", "lb wan", "away", "", "away*", "mate"),
    Line("local-draining", "cluster", "away", "", "away*", "away*", protocols=_TCP),
    Line("local-draining-beside-ready", "lb", "pod* away", "pod away", "pod* away*", "pod", protocols=_TCP),
    Line("local-unready", "lb wan", "away", "", "away*", "drop", protocols=_TCP),
    Line("local-dying", "lb", "away", "", "away*", "drop", protocols=_TCP),
    Line("local-all-draining", "lb wan", "mate away", "mate away", "mate* away*", "mate", protocols=_TCP),
    # ── internalTrafficPolicy Local.
    Line("internal", "cluster", "pod* mate", "pod mate", "pod* mate*", "pod* mate*"),
    _all("internal", "lb wan", _EVERY, protocols=_TCP),
    _all("internal-away", "cluster", "drop"),
    _all("internal-away", "external wan", "away*", protocols=_TCP),
    _all("internal-empty", "cluster lb", "refuse", protocols=_TCP),
    Line("internal-draining", "cluster", "mate", "mate", "mate*", "mate*", protocols=_TCP),
    _all("internal-unready", "cluster", "drop", protocols=_TCP),
    Line("both-local", "cluster", "pod* mate", "pod mate", "pod* mate*", "pod* mate*", protocols=_TCP),
    Line("both-local", "lb wan", _OWN, _ALL, _EVERY, "pod mate", protocols=_TCP),
    _all("both-local-away", "cluster", "drop", protocols=_TCP),
    Line("both-local-away", "lb", "away", "", "away*", "drop", protocols=_TCP),
    # ── Hints, and trafficDistribution, which is made of them.
    Line("zones", "cluster", "pod* away", "pod away", "pod* away*", "pod* away*"),
    _all("zones", "lb wan", "pod* away*", protocols=_TCP),
    Line("zones-away", "cluster", "away", "", "away*", "away*", protocols=_TCP),
    Line("zone-missing", "cluster", _OWN, _ALL, _EVERY, _EVERY, protocols=_TCP),
    Line("zones-elsewhere", "cluster", _OWN, _ALL, _EVERY, _EVERY, protocols=_TCP),
    Line("zones-with-unready", "cluster", "pod*", "pod", "pod*", "pod*", protocols=_TCP),
    Line("nodes", "cluster", "pod*", "pod", "pod*", "pod*"),
    Line("nodes-away", "cluster", "away", "", "away*", "away*", protocols=_TCP),
    Line("node-missing", "cluster", _OWN, _ALL, _EVERY, _EVERY, protocols=_TCP),
    Line("nodes-before-zones", "cluster", "pod*", "pod", "pod*", "pod*", protocols=_TCP),
    Line("zones-after-nodes", "cluster", "pod* away", "pod away", "pod* away*", "pod* away*", protocols=_TCP),
    Line("local-zones", "lb wan", "away", "", "away*", "pod mate", protocols=_TCP),
    Line("internal-zones", "cluster", "pod* mate", "pod mate", "pod* mate*", "pod* mate*", protocols=_TCP),
    Line("draining-zones", "cluster", "pod* away", "pod away", "pod* away*", "pod* away*", protocols=_TCP),
    # ── loadBalancerSourceRanges: the load balancer's address only, for pods and the node too.
    Line("for-clients", "lb", "drop", "drop", _EVERY, _EVERY),
    _all("for-clients", "external wan", _EVERY, protocols=_TCP),
    Line("for-clients", "cluster", _OWN, _ALL, _EVERY, _EVERY, protocols=_TCP),
    Line("for-pods", "lb", _EVERY, "drop", "drop", "drop"),
    _all("for-all", "lb", _EVERY, protocols=_TCP),
    _all("for-all-and-more", "lb", _EVERY, protocols=_TCP),
    # Everybody of one family is everybody, unless the other family has ranges of its own.
    _all("for-all-v4", "lb", _EVERY, protocols=_TCP),
    _all("for-all-v4-clients-v6", "lb", _EVERY, versions=(4,), protocols=_TCP),
    Line("for-all-v4-clients-v6", "lb", "drop", "drop", _EVERY, _EVERY, versions=(6,), protocols=_TCP),
    # A family without ranges is closed if the other has some: here ours is stricter than upstream.
    Line("for-clients-v4", "lb", "drop", "drop", _EVERY, _EVERY, versions=(4,), protocols=_TCP),
    _all("for-clients-v4", "lb", "drop", versions=(6,), protocols=_TCP),
    Line("for-pods-empty", "lb", "refuse", "drop", "drop", "drop"),
    _all("for-pods-empty", "external wan cluster", "refuse", protocols=_TCP),
    Line("for-pods-local", "lb", _OWN, "drop", "drop", "drop", protocols=_TCP),
    Line("for-clients-local", "lb", "drop", "drop", _EVERY, "pod mate", protocols=_TCP),
    Line("for-clients-local", "wan", _OWN, _ALL, _EVERY, "pod mate", protocols=_TCP),
    Line("for-clients-local-away", "lb", "drop", "drop", "away*", "drop", protocols=_TCP),
    # ── What is published.
    _all("mode-vip", "lb", _EVERY, protocols=_TCP),
    _all("mode-proxy", "lb", "untouched", protocols=_TCP),
    _all("mode-proxy", "wan external", _EVERY, protocols=_TCP),
    _all("hostname", "lb", "untouched", protocols=_TCP),
    _all("node-port-type", "lb", "untouched", protocols=_TCP),
    _all("node-port-type", "wan external", _EVERY, protocols=_TCP),
    _all("headless", "external lb wan", "untouched", protocols=_TCP),
    _all("by-name", "external lb wan", "untouched", protocols=_TCP),
    _all("by-name", "cluster", "drop", protocols=_TCP),
    _all("others", "external wan", "untouched", protocols=_TCP),
    _all("others", "cluster", "drop", protocols=_TCP),
    _all("headless-slice", "cluster", "refuse", protocols=_TCP),
    Line("others-slice", "cluster", _OWN, _ALL, _EVERY, _EVERY, protocols=_TCP),
    Line("single-v4", "cluster", _OWN, _ALL, _EVERY, _EVERY, versions=(4,), protocols=_TCP),
    _all("single-v4", "cluster", "drop", versions=(6,), protocols=_TCP),
    _all("single-v4", "wan lb external", "untouched", versions=(6,), protocols=_TCP),
    Line("single-v6", "cluster", _OWN, _ALL, _EVERY, _EVERY, versions=(6,), protocols=_TCP),
    _all("single-v6", "cluster", "drop", versions=(4,), protocols=_TCP),
    _all("single-v6", "wan lb external", "untouched", versions=(4,), protocols=_TCP),
    # ── Ports and addresses that nobody has.
    _all("web", "cluster:81", "refuse"),
    _all("web", "external:81 lb:81 wan:30999", "untouched"),
    _all("web", "cluster:81", "refuse", protocols=_SCTP),
    _all("web", "free", "drop"),
    _all("web", "free", "drop", protocols=_SCTP),
    _all("web", "outside", "untouched", protocols=_TCP),
    _all("tcp-only", "cluster", "refuse", protocols=_UDP),
    _all("tcp-only", "wan lb", "untouched", protocols=_UDP),
    _all("udp-only", "cluster", "refuse", protocols=_TCP),
    _all("udp-only", "wan", _EVERY, protocols=_UDP),
    # ── Node ports: never on loopback.
    Line("web", "loopback", node="untouched"),
    Line("local", "loopback", node="untouched", protocols=_TCP),
    # ── Slices together.
    Line("two-slices", "cluster", _OWN, _ALL, _EVERY, _EVERY, protocols=_TCP),
    Line("duplicate", "cluster", "pod* away", "pod away", "pod* away*", "pod* away*", protocols=_TCP),
    Line("duplicate-unready-first", "cluster", "pod* away", client="pod* away*", protocols=_TCP),
    Line("duplicate-unready-last", "cluster", "pod* away", client="pod* away*", protocols=_TCP),
    Line("duplicate-draining", "cluster", "pod* away", client="pod* away*", protocols=_TCP),
    # ── No detector: nobody is off-cluster, and nobody is a pod.
    Line("web", "cluster", _OWN, _ALL, _ALL, _ALL, state="no-detector"),
    _all("web", "lb wan", _EVERY, protocols=_TCP, state="no-detector"),
    Line("local", "lb wan", "pod* mate", "pod mate", _EVERY, "pod mate", state="no-detector"),
    Line("local-away", "lb", "drop", "drop", "away*", "drop", protocols=_TCP, state="no-detector"),
    # ── The other detectors: which of the pods are this node's.
    Line("web", "cluster", _OWN, _EVERY, _EVERY, _EVERY, "pod mate* away", state="node-cidr"),
    Line("local", "lb", _OWN, "pod mate", _EVERY, "pod mate", "pod mate* away", _TCP, state="node-cidr"),
    Line("local-away", "wan", "away", "drop", "away*", "drop", protocols=_TCP, state="node-cidr"),
    Line("web", "cluster", _OWN, _EVERY, _EVERY, _EVERY, _EVERY, state="bridge"),
    Line("local", "lb", _OWN, "pod mate", _EVERY, "pod mate", "pod mate*", _TCP, state="bridge"),
    Line("local-away", "wan", "away", "drop", "away*", "drop", "drop", _TCP, state="bridge"),
    Line("web", "cluster", _OWN, _EVERY, _EVERY, _EVERY, "pod mate* away", state="prefix"),
    Line("local", "lb", _OWN, "pod mate", _EVERY, "pod mate", "pod mate* away", _TCP, state="prefix"),
    Line("local-away", "wan", "away", "drop", "away*", "drop", "away", _TCP, state="prefix"),
    # ── masqueradeAll is about cluster IPs: under Local, pods keep their address toward other doors.
    _all("web", "cluster", _EVERY, state="masquerade-all"),
    _all("internal", "cluster", "pod* mate*", protocols=_TCP, state="masquerade-all"),
    Line("local", "lb wan", _OWN, _ALL, _EVERY, "pod mate", protocols=_TCP, state="masquerade-all"),
    _all("empty", "cluster", "refuse", protocols=_TCP, state="masquerade-all"),
    # ── nodePortAddresses.
    _all("web", "lan", _EVERY, state="lan-ports"),
    _all("web", "wan cni", "untouched", state="lan-ports"),
    Line("local", "lan", _OWN, _ALL, _EVERY, "pod mate", protocols=_TCP, state="lan-ports"),
    _all("empty", "lan", "refuse", protocols=_TCP, state="lan-ports"),
    _all("web", "lb external", _EVERY, protocols=_TCP, state="lan-ports"),
    Line("web", "loopback", node="untouched", protocols=_TCP, state="lan-ports"),
    _all("web", "lan", _EVERY, protocols=_TCP, state="primary-ports"),
    _all("web", "wan cni", "untouched", protocols=_TCP, state="primary-ports"),
    # ── Beside pools of thousands of slots.
    Line("web", "cluster", _OWN, _ALL, _EVERY, _EVERY, protocols=_TCP, state="hashes"),
)

ROWS = tuple(row for line in LINES for row in line.rows())
