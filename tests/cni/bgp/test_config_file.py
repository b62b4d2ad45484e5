"""The `bgp:` part of agent.yaml: what it means, and how it is refused."""

from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

import pytest

from cni.agent.config import read_agent_config
from cni.bgp.config import BgpConfig, Peer, Reflectors, ServiceRanges, Timers
from cni.bgp.speaker import read_passwords
from nodeplane.errors import ConfigError

FULL = """\
datastore: sqlite:///var/lib/nodeplane/ipam.sqlite
bgp:
  asNumber: 64512
  mesh: false
  routeReflectors:
  - nodeSelector: has(route-reflector)
    clusterId: 244.0.0.1
    clients: rack == "a"
  nodes: {holdTime: 30s, keepaliveTime: 10s, gracefulRestartTime: 1m, bfd: graceful, passwordFile: /np/mesh}
  peers:
  - name: tor-a
    address: 10.0.1.1
    asNumber: 65001
    port: 1179
    nodeSelector: rack == "a"
    sourceAddress: 10.0.1.11
    passive: true
    ttlSecurity: true
    bfd: strict
    maxPrefixes: 100
    allowLocalAs: 1
    keepNextHop: true
    announce: cluster
    communities: ["64512:7", "64512:1:2"]
    importOnly: [0.0.0.0/0]
  - {name: tor-a-ipv6, address: "fd00:1::1", asNumber: 65001, sourceAddress: auto, multihop: 2}
  communities: [{cidr: 10.244.0.0/16, communities: ["65535:65281"]}]
  services: {clusterIPs: [10.96.0.0/12], externalIPs: [203.0.113.0/24], loadBalancerIPs: ["fd00:f::/112"]}
  bfd: {interval: 100ms, multiplier: 5}
  port: 1790
  uplinks: ["eth*"]
  user: speaker
  preferNodeAddress: true
  bird: /opt/bird
  directory: /run/bird
  socket: /run/bird/control
"""
MEANING = BgpConfig(
    as_number=64512,
    mesh=False,
    route_reflectors=(Reflectors("has(route-reflector)", IPv4Address("244.0.0.1"), 'rack == "a"'),),
    nodes=Timers(30, 10, 60, "graceful", Path("/np/mesh")),
    peers=(
        Peer(
            name="tor-a",
            address=ip_address("10.0.1.1"),
            as_number=65001,
            port=1179,
            node_selector='rack == "a"',
            source=ip_address("10.0.1.11"),
            use_node_address=False,
            is_passive=True,
            ttl_security=True,
            max_prefixes=100,
            allow_local_as=1,
            keep_next_hop=True,
            announce="cluster",
            communities=((64512, 7), (64512, 1, 2)),
            import_only=(ip_network("0.0.0.0/0"),),
            timers=Timers(bfd="strict"),
        ),
        Peer(
            name="tor-a-ipv6",
            address=ip_address("fd00:1::1"),
            as_number=65001,
            use_node_address=False,
            multihop=2,
        ),
    ),
    communities=((ip_network("10.244.0.0/16"), ((65535, 65281),)),),
    services=ServiceRanges(
        (ip_network("10.96.0.0/12"),), (ip_network("203.0.113.0/24"),), (ip_network("fd00:f::/112"),)
    ),
    bfd_interval_s=0.1,
    bfd_multiplier=5,
    port=1790,
    uplinks=("eth*",),
    user="speaker",
    prefer_node_address=True,
    bird=Path("/opt/bird"),
    directory=Path("/run/bird"),
    socket=Path("/run/bird/control"),
)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        pytest.param(FULL, MEANING, id="all fields"),
        pytest.param("bgp: {asNumber: 64512}\n", BgpConfig(as_number=64512), id="a mesh"),
        pytest.param("{}\n", None, id="no BGP"),
        pytest.param(
            "bgp: {asNumber: 1, routeReflectors: [{nodeSelector: rr, clusterId: 1.1.1.1}]}\n",
            BgpConfig(as_number=1, mesh=False, route_reflectors=(Reflectors("rr", IPv4Address("1.1.1.1")),)),
            id="reflectors end the mesh",
        ),
    ],
)
def test_meaning(tmp_path: Path, text: str, meaning: BgpConfig | None) -> None:
    """Each field has its place; what is left out has Calico's default or bird's."""
    file = tmp_path / "agent.yaml"
    file.write_text(text)
    assert read_agent_config(file).bgp == meaning


PEER = "{asNumber: 1, peers: [{name: a, address: 10.0.0.1, asNumber: 2, %s}]}"


@pytest.mark.parametrize(
    ("bgp", "refusal"),
    [
        pytest.param("{}", "bgp.asNumber: ", id="no AS"),
        pytest.param("{asNumber: 0}", "bgp.asNumber: ", id="AS 0"),
        pytest.param("{asNumber: 4294967295}", "bgp.asNumber: ", id="the last AS"),
        pytest.param("{asNumber: 1, meshed: true}", "bgp.meshed: ", id="unknown field"),
        pytest.param(
            "{asNumber: 1, mesh: true, routeReflectors: [{nodeSelector: rr, clusterId: 1.1.1.1}]}",
            "bgp.mesh: expected false where there are routeReflectors",
            id="mesh and reflectors",
        ),
        pytest.param(
            "{asNumber: 1, routeReflectors: [{nodeSelector: '==', clusterId: 1.1.1.1}]}",
            "bgp.routeReflectors[0].nodeSelector: expected ",
            id="selector",
        ),
        pytest.param(
            "{asNumber: 1, routeReflectors: [{nodeSelector: rr, clusterId: x}]}",
            "bgp.routeReflectors[0].clusterId: expected four numbers such as 244.0.0.1: ",
            id="cluster id",
        ),
        pytest.param(
            "{asNumber: 1, nodes: {holdTime: 2s}}", "bgp.nodes.holdTime: expected 3s to 65535s", id="hold"
        ),
        pytest.param(
            "{asNumber: 1, nodes: {holdTime: soon}}", "bgp.nodes.holdTime: expected a duration", id="duration"
        ),
        pytest.param(
            "{asNumber: 1, nodes: {keepaliveTime: 90s}}",
            "bgp.nodes.keepaliveTime: expected at least 1s, and less than holdTime",
            id="keepalive",
        ),
        pytest.param(
            "{asNumber: 1, nodes: {gracefulRestartTime: 2h}}",
            "bgp.nodes.gracefulRestartTime: expected at most 4095s",
            id="restart",
        ),
        pytest.param(
            "{asNumber: 1, nodes: {gracefulRestartTime: '0', bfd: graceful}}",
            "bgp.nodes.bfd: expected none or strict where gracefulRestartTime is 0",
            id="graceful BFD without restart",
        ),
        pytest.param(
            "{asNumber: 1, nodes: {passwordFile: secret}}",
            "bgp.nodes.passwordFile: expected an absolute path",
            id="relative",
        ),
        pytest.param(
            "{asNumber: 1, bfd: {interval: 1ms}}", "bgp.bfd.interval: expected 10ms to 60s", id="BFD"
        ),
        pytest.param(
            "{asNumber: 1, user: '-R'}", "bgp.user: expected the name of a user, got '-R'", id="user"
        ),
        pytest.param("{asNumber: 1, uplinks: []}", "bgp.uplinks: expected at least one", id="no uplinks"),
        pytest.param(
            """{asNumber: 1, uplinks: ['a"b']}""", "bgp.uplinks[0]: expected a link's name", id="uplink"
        ),
        pytest.param(
            "{asNumber: 1, services: {clusterIPs: [10.96.0.1/12]}}",
            "bgp.services.clusterIPs[0]: expected a network: ",
            id="range",
        ),
        pytest.param(
            "{asNumber: 1, communities: [{cidr: 10.0.0.0/8, communities: ['1:2:3:4']}]}",
            "bgp.communities[0].communities[0]: expected a community 64512:100 or a large one",
            id="community",
        ),
        pytest.param(
            PEER % "communities: ['65536:1']",
            "bgp.peers[0].communities[0]: expected a community",
            id="community too large",
        ),
        pytest.param(PEER % "bfd: maybe", "bgp.peers[0].bfd: ", id="BFD mode"),
        pytest.param(
            PEER % "sourceAddress: fd00::1",
            "bgp.peers[0].sourceAddress: expected IPv4 as in address",
            id="source of another family",
        ),
        pytest.param(
            PEER % "sourceAddress: here",
            "bgp.peers[0].sourceAddress: expected node, auto or an address",
            id="source",
        ),
        pytest.param(PEER % "importOnly: [x]", "bgp.peers[0].importOnly[0]: expected a network", id="import"),
        pytest.param(
            "{asNumber: 1, peers: [{name: a b, address: 10.0.0.1, asNumber: 2}]}",
            "bgp.peers[0].name: expected a DNS subdomain name",
            id="name",
        ),
        pytest.param(
            "{asNumber: 1, peers: [{name: a, address: fe80::1, asNumber: 2}]}",
            "bgp.peers[0].address: expected the address of a router",
            id="link-local",
        ),
        pytest.param(
            "{asNumber: 1, peers: [{name: a, address: 10.0.0.1, asNumber: 2},"
            " {name: a, address: 10.0.0.2, asNumber: 2}]}",
            "bgp.peers[1].name: expected each name once",
            id="twice",
        ),
    ],
)
def test_refusals(tmp_path: Path, bgp: str, refusal: str) -> None:
    """One line names file, line, field and what is expected."""
    file = tmp_path / "agent.yaml"
    file.write_text(f"# agent\nbgp: {bgp}\n")
    with pytest.raises(ConfigError) as caught:
        read_agent_config(file)
    assert str(caught.value).startswith(f"{file}:2: {refusal}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "password"),
    [
        pytest.param(b"s3cret\n", "s3cret", id="one line"),
        pytest.param("ü".encode() * 40, "ü" * 40, id="80 bytes"),
        pytest.param("ü".encode() * 40 + b"x", None, id="81 bytes"),
        pytest.param(b"", None, id="empty"),
        pytest.param(b"a\nb", None, id="two lines"),
        pytest.param(b'a"b', None, id="a quote"),
        pytest.param(b"\xff", None, id="not UTF-8"),
        pytest.param(None, None, id="no file"),
    ],
)
def test_passwords(tmp_path: Path, content: bytes | None, password: str | None) -> None:
    """A password is one line that TCP and bird can take; else the file is named."""
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    config = BgpConfig(as_number=1, nodes=Timers(password_file=file))
    if password is not None:
        assert read_passwords(config) == {file: password}
        return
    with pytest.raises(ConfigError, match=f"^{file}: expected a "):
        read_passwords(config)
