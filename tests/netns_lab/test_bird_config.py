"""The configuration of the routers' BIRD; BIRD itself says whether it can read it."""

import subprocess
from pathlib import Path

import msgspec
import pytest

from netns_lab.bird import PROGRAM
from netns_lab.bird_config import build_bird_configs
from netns_lab.topology import InterfaceSpec, NodeSpec, PeerSpec, RouterSpec, SegmentSpec, Topology

WORDS = "s e"
SPINE = RouterSpec("spine", (InterfaceSpec("up"),), asn=65100, peers=(PeerSpec(router="leaf"),))
LEAF = RouterSpec(
    "leaf",
    (InterfaceSpec("rack"), InterfaceSpec("up")),
    asn=65001,
    peers=(PeerSpec(segment="rack", password=WORDS, bfd=True), PeerSpec(router="spine")),
)
RACK = Topology(
    "lab",
    (NodeSpec("n-1"),),
    segments=(
        SegmentSpec("rack", "10.0.1.0/24,fd00:1::/64"),
        SegmentSpec("up", "10.0.2.0/31,fd00:2::/127"),
    ),
    routers=(SPINE, LEAF, RouterSpec("static", (InterfaceSpec("rack"),))),
)


def peers(configs: dict[str, bytes], router: str) -> str:
    """Return the sessions of a router's configuration."""
    return configs[router].decode().partition("protocol bfd { }\n")[2]


def test_only_routers_with_an_as_number() -> None:
    assert set(build_bird_configs(RACK)) == {"spine", "leaf"}


def test_sessions() -> None:
    """One for each family; nodes connect to the router, those of its own AS are clients of its reflector."""
    shared = (
        "  graceful restart on;\n  connect retry time 1;\n  connect delay time 1;\n  error wait time 1, 4;\n"
    )
    configs = build_bird_configs(RACK)

    assert peers(configs, "leaf") == (
        "protocol bgp to_n_1_v4 {\n"
        "  local 10.0.1.2 as 65001;\n  neighbor 10.0.1.4 as 65001;\n"
        + shared
        + '  passive on;\n  rr client;\n  password "s e";\n  bfd on;\n'
        "  ipv4 { import all; export all; next hop self ebgp; };\n}\n"
        "protocol bgp to_n_1_v6 {\n"
        "  local fd00:1::2 as 65001;\n  neighbor fd00:1::4 as 65001;\n"
        + shared
        + '  passive on;\n  rr client;\n  password "s e";\n  bfd on;\n'
        "  ipv6 { import all; export all; next hop self ebgp; };\n}\n"
        "protocol bgp to_spine_v4 {\n"
        "  local 10.0.2.1 as 65001;\n  neighbor 10.0.2.0 as 65100;\n"
        + shared
        + "  ipv4 { import all; export all; };\n}\n"
        "protocol bgp to_spine_v6 {\n"
        "  local fd00:2::1 as 65001;\n  neighbor fd00:2:: as 65100;\n"
        + shared
        + "  ipv6 { import all; export all; };\n}\n"
    )


def test_of_two_routers_one_connects() -> None:
    configs = build_bird_configs(RACK)
    to_spine = peers(configs, "leaf").partition("protocol bgp to_spine_v4")[2]

    assert [text.count("passive on;") for text in (peers(configs, "spine"), to_spine)] == [2, 0]


@pytest.mark.parametrize(
    ("asn", "is_client"),
    [pytest.param(None, True, id="the router's own"), pytest.param(64512, False, id="another")],
)
def test_as_number_of_nodes(asn: int | None, is_client: bool) -> None:
    leaf = msgspec.structs.replace(LEAF, peers=(PeerSpec(segment="rack", asn=asn),))
    configs = build_bird_configs(msgspec.structs.replace(RACK, routers=(leaf,)))

    assert (f"neighbor 10.0.1.3 as {asn or 65001};" in peers(configs, "leaf")) is True
    assert ("rr client;" in peers(configs, "leaf")) is is_client


@pytest.mark.parametrize("router", ["leaf", "spine"])
def test_bird_reads_it(router: str, tmp_path: Path) -> None:
    """Its parser alone, `bird -p`: nothing is started."""
    file = tmp_path / "bird.conf"
    file.write_bytes(build_bird_configs(RACK)[router])

    done = subprocess.run(
        [PROGRAM, "-p", "-c", file], capture_output=True, text=True, check=False, timeout=60
    )

    assert (done.returncode, done.stderr) == (0, "")
