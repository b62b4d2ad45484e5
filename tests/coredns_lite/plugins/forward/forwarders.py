"""A forwarder to upstreams of the test, and what it counts."""

from collections.abc import Callable

import dns.flags
import dns.message

from coredns_lite.corefile.parser import parse_corefile
from coredns_lite.metrics import REGISTRY
from coredns_lite.plugins import forward
from coredns_lite.plugins.forward.forwarder import Forwarder
from coredns_lite.plugins.forward.upstream import Timing
from tests.coredns_lite.upstreams import (
    LIMIT_S,
    Upstream,
    reply,
)

A = "@ 300 A 10.1.2.3"
# Long enough for loopback on a slow machine; short where a test waits for it to pass.
PATIENT = Timing(LIMIT_S, LIMIT_S, LIMIT_S, LIMIT_S)
BRIEF = Timing(connect_s=0.1, read_s=0.1, probe_read_s=0.1, overall_s=0.3)


def forwarder(options: str, *upstreams: Upstream, timing: Timing = PATIENT) -> Forwarder:
    targets = " ".join(upstream.target or f"127.0.0.1:{upstream.port}" for upstream in upstreams)
    (block,) = parse_corefile(f". {{\nforward . {targets} {{\n{options}\n}}\n}}", "Corefile")
    return forward.make_forwarder(forward.decode(block.directives[0], (".",)), timing)


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def garbled(query: dns.message.Message, change: Callable[[bytearray], None]) -> bytes:
    wire = bytearray(reply(query, A).to_wire())
    change(wire)
    return bytes(wire)
