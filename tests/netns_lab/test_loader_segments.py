"""What the loader refuses of segments and routers: one line each, where it was written."""

from pathlib import Path

import pytest

from netns_lab.loader import read_lab
from nodeplane.errors import ConfigError

A = "nodes: [{name: n1, segment: a}]\n"
R = f"  - {{name: b, network: 10.2.0.0/24}}\n{A}routers:\n  - name: r1\n    interfaces:\n      - segment: a\n"
REFUSED = [
    (
        f"  - {{name: a, network: 10.2.0.0/24}}\n{A}",
        "4: segments[1].name: expected each segment once, got 'a'",
        "segment twice",
    ),
    (
        f"  - {{name: to-a, network: 10.2.0.0/24}}\n{A}",
        "4: segments[1].name: expected up to 15 lower case letters, digits, '-', not lo, all, default, "
        "nor to- in front, got 'to-a'",
        "name of a segment",
    ),
    (
        f"  - {{name: b, network: 10.1.0.0/16}}\n{A}",
        "4: segments[1].network: expected a network apart from segment a 10.1.0.0/24, got '10.1.0.0/16'",
        "segments that overlap",
    ),
    (
        f"{A}network: {{segment: 10.3.0.0/24}}\n",
        "5: network.segment: expected no network here, the segments have their own, got '10.3.0.0/24'",
        "a segment in both places",
    ),
    (
        "nodes: [{name: n1, segment: b}]\n",
        "4: nodes[0].segment: expected the name of a segment, got 'b'",
        "node on an unknown segment",
    ),
    (
        "nodes: [{name: n1, address: 10.2.0.1}]\n",
        "4: nodes[0].address: expected a host's address in segment 10.1.0.0/24, got '10.2.0.1'",
        "address of another segment",
    ),
    (
        f"{A}routers: [{{name: n1, interfaces: [{{segment: a}}]}}]\n",
        "5: routers[0].name: expected each node once, got 'n1'",
        "router with a node's name",
    ),
    (
        f"{A}routers: [{{name: r1, interfaces: []}}]\n",
        "5: routers[0].interfaces: expected at least one",
        "a router without a link",
    ),
    (
        f"{A}routers: [{{name: r1, interfaces: [{{segment: b}}]}}]\n",
        "5: routers[0].interfaces[0].segment: expected the name of a segment, got 'b'",
        "router on an unknown segment",
    ),
    (
        f"{R}      - segment: a\n",
        "10: routers[0].interfaces[1].segment: expected each segment once, got 'a'",
        "router twice on a segment",
    ),
    (
        f"{R}        address: 10.1.0.1\n",
        "10: routers[0].interfaces[0].address: expected another address, 10.1.0.1 is the segment's gateway, "
        "got '10.1.0.1'",
        "the fabric's address",
    ),
    (
        f"{R}    routes: [{{to: 10.9.0.0/16, via: 10.2.0.9}}]\n",
        "10: routers[0].routes[0].via: expected an IPv4 address on one of the router's segments, "
        "got '10.2.0.9'",
        "next hop that is not on a link",
    ),
    (
        f"{R}    routes: [{{to: 10.9.0.1/16, via: 10.1.0.9}}]\n",
        "10: routers[0].routes[0].to: expected a network such as 10.1.0.0/16 or ::/0, host bits zero, "
        "got '10.9.0.1/16'",
        "destination of a route",
    ),
    (
        f"{R}    peers: [{{segment: a}}]\n",
        "10: routers[0].peers[0]: expected only with the router's own asn",
        "peers without an AS number",
    ),
    (
        f"{R}    asn: 65001\n    peers: [{{bfd: true}}]\n",
        "11: routers[0].peers[0]: expected either a router or a segment",
        "a peer that is nobody",
    ),
    (
        f"{R}    asn: 65001\n    peers: [{{segment: b}}]\n",
        "11: routers[0].peers[0].segment: expected one of the router's segments, got 'b'",
        "nodes of a segment that is elsewhere",
    ),
    (
        f"{R}    asn: 65001\n    peers: [{{router: r2}}]\n",
        "11: routers[0].peers[0].router: expected the name of another router with an asn, got 'r2'",
        "a router that is not there",
    ),
    (
        f"{R}    asn: 65001\n    peers: [{{router: r2}}]\n"
        "  - {name: r2, asn: 65002, interfaces: [{segment: b}]}\n",
        "11: routers[0].peers[0].router: expected a router on one of this one's segments, got 'r2'",
        "a router that is elsewhere",
    ),
    (
        f"{R}    asn: 65001\n    peers: [{{segment: a, password: 'a\"b'}}]\n",
        "11: routers[0].peers[0].password: expected up to 80 printable characters without quotes, got 'a\"b'",
        "password",
    ),
    (
        "nodes: [{name: n1-a, segment: a}]\nrouters: [{name: n1, interfaces: [{segment: a}]}]\n",
        "5: routers[0].name: expected a name whose to-n1-a is free, got 'n1'",
        "two places, one link name",
    ),
]


@pytest.mark.parametrize(
    ("text", "error"), [pytest.param(text, error, id=identifier) for text, error, identifier in REFUSED]
)
def test_refused(text: str, error: str, tmp_path: Path) -> None:
    """Errors start with the place; what follows the file's name is compared whole."""
    path = tmp_path / "lab.yaml"
    path.write_text(f"name: lab\nsegments:\n  - {{name: a, network: 10.1.0.0/24}}\n{text}")

    with pytest.raises(ConfigError) as caught:
        read_lab(path)

    assert str(caught.value) == f"{path}:{error}"
