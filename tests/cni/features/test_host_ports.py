"""Host ports with real packets: who answers, and which source the pod sees."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cni.features.node_table import NODE_TABLE
from tests.cni.conftest import WAYS, Answer, Node
from tests.cni.host_port_world import ANY4, NODE, OUTSIDE, SECOND, World, tcp, world
from tests.kubeproxy.matrix.asking import Protocol, ask
from tests.netns_fixture import eventually, run_in

pytestmark = pytest.mark.netns

ALL = [{"hostPort": 80, "containerPort": 8080, "protocol": protocol} for protocol in ("tcp", "udp", "sctp")]


@pytest.fixture
def there(node: Node) -> Iterator[World]:
    with world(node) as built:
        yield built


@pytest.fixture
def way(request: pytest.FixtureRequest) -> str:
    kind: str = getattr(request, "param", WAYS[0])
    return kind


@pytest.mark.parametrize("way", WAYS, indirect=True)
def test_who_reaches_it_and_as_whom(there: World, agent_socket: Path) -> None:
    """Each client in each family by each protocol; the client's address is kept where it can be."""
    there.add("c1", *ALL)
    there.add("c2")
    other = there.addresses["c2"]
    node, own, neighbour = there.node.path, there.pods["c1"], there.pods["c2"]
    seen: dict[tuple[str, str, int], object] = {}
    expected: dict[tuple[str, str, int], object] = {}
    protocols: tuple[Protocol, ...] = ("tcp", "udp", "sctp")
    for protocol in protocols:
        for version in (4, 6):
            for who, ns, host, source in (
                ("outside", there.outside, NODE, OUTSIDE[version]),
                ("outside, another address", there.outside, SECOND, OUTSIDE[version]),
                ("neighbour", neighbour, NODE, other[version]),
                ("itself", own, NODE, None),
                ("node", node, NODE, NODE[version]),
                ("node by 127.0.0.1", node, {4: "127.0.0.1"}, None),
            ):
                if version not in host:
                    continue
                answer = ask(ns, protocol, host[version], 80, version).answer
                key = (who, protocol, version)
                seen[key], expected[key] = answer, ("c1", source)
                if source is None:
                    # An address of the node: which one, the kernel decides.
                    assert isinstance(answer, tuple), key
                    assert answer[1] in (NODE[version], SECOND[version])
                    expected[key] = "c1", answer[1]
    assert seen == expected
    # IPv6 can't be led from ::1: refused at once.
    assert ask(node, "tcp", "::1", 80, 6).answer == "refuse"

    assert there.call("DEL", "c1") == Answer(0, None)

    assert there.host_ports() == {}
    assert (
        not Path(there.node.environ("ADD", "")["NODEPLANE_CNI_SOCKET"]).with_name("host-ports.json").exists()
    )
    assert ask(there.outside, "tcp", NODE[4], 80, 4).answer == "refuse"


@pytest.mark.parametrize(
    ("host_ip", "expected"),
    [
        pytest.param("", {4: ("one", "two"), 6: ("one", "two")}, id="empty"),
        pytest.param(ANY4, {4: ("one", "two"), 6: ()}, id="any of IPv4"),
        pytest.param("::", {4: (), 6: ("one", "two")}, id="any of IPv6"),
        pytest.param(NODE[4], {4: ("one",), 6: ()}, id="one of IPv4"),
        pytest.param(SECOND[6], {4: (), 6: ("two",)}, id="one of IPv6"),
        pytest.param("127.0.0.1", {4: (), 6: ()}, id="the loopback"),
    ],
)
def test_host_ip(there: World, host_ip: str, expected: dict[int, tuple[str, ...]]) -> None:
    """Only the address that was asked for serves the port."""
    there.add("c1", tcp(80, hostIP=host_ip))

    found = {
        version: tuple(
            name
            for name, host in (("one", NODE), ("two", SECOND))
            if ask(there.outside, "tcp", host[version], 80, version).answer == ("c1", OUTSIDE[version])
        )
        for version in (4, 6)
    }

    assert found == expected
    by_loopback = ask(there.node.path, "tcp", "127.0.0.1", 80, 4).answer
    assert (by_loopback != "refuse") == (host_ip in {"", ANY4, "127.0.0.1"})


def test_no_pod_reaches_the_loopback_of_the_node(there: World) -> None:
    """Route_localnet would let it in, were it not for our guard (CVE-2020-8558)."""
    there.add("c1", tcp(80))
    # As an attacker with CAP_NET_ADMIN in its pod does.
    attacker = there.pods["c1"]
    for command in (
        "ip route add 127.0.0.53/32 via 169.254.1.1 dev eth0",
        "sysctl -qw net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.eth0.route_localnet=1",
        "ip route del local 127.0.0.0/8 dev lo table local",
    ):
        done = run_in(attacker, *command.split())
        assert done.returncode == 0, (command, done.stderr)
    from tests.cni.echo_pod import echoing

    with echoing(there.node.path, "node", 53):
        assert ask(attacker, "tcp", "127.0.0.53", 53, 4, patience_s=1).answer == "silence"
        run_in(there.node.path, "nft", "flush chain inet nodeplane-cni loopback-guard")
        # The way is there otherwise: this test would notice.
        assert ask(attacker, "tcp", "127.0.0.53", 53, 4).answer != "silence"


def test_taken(there: World) -> None:
    """The second pod fails with the holder's name, and nothing of it stays; after a DEL it gets the port."""
    there.add("c1", tcp(80, hostIP=NODE[4]))

    for mapping in (tcp(80), tcp(80, hostIP=NODE[4]), tcp(80, hostIP=ANY4)):
        answer = there.call("ADD", "c2", tcp(81), mapping)

        assert (answer.code, answer.body["code"]) == (1, 106)
        assert answer.body["msg"] == f"host port {NODE[4]}:80/tcp is taken"
        assert answer.body["details"] == "by c1/eth0"
        assert len(there.node.links()) == 1
        assert there.host_ports() == {"host-ports-ip": 1, "host-port-pods-ip": 1}
    there.add("c2", tcp(80, hostIP=SECOND[4]), {**tcp(80), "protocol": "udp"})
    assert there.call("DEL", "c2") == Answer(0, None)
    assert there.call("DEL", "c1") == Answer(0, None)
    there.add("c2", tcp(80))
    assert ask(there.outside, "tcp", NODE[4], 80, 4).answer == ("c2", OUTSIDE[4])


def test_a_holder_that_is_gone(there: World) -> None:
    """Its link went with its namespace, and no DEL has come: the port is free."""
    there.add("c1", tcp(80))
    (link,) = there.node.links()
    run_in(there.node.path, "ip", "link", "delete", link)
    eventually(there.node.links, lambda links: not links)

    there.add("c2", tcp(80))

    assert ask(there.outside, "tcp", NODE[4], 80, 4).answer == ("c2", OUTSIDE[4])
    # The late DEL takes nothing from the new holder.
    assert there.call("DEL", "c1") == Answer(0, None)
    assert ask(there.outside, "tcp", NODE[4], 80, 4).answer == ("c2", OUTSIDE[4])


def test_repeated_adds(there: World) -> None:
    """The same answer; and another one when other ports are asked for."""
    first = there.add("c1", *ALL)
    elements = there.host_ports()

    assert there.add("c1", *ALL) == first
    assert there.host_ports() == elements

    there.add("c1", tcp(81))
    assert there.host_ports() == dict.fromkeys(
        ("host-ports-any-ip", "host-ports-any-ip6", "host-port-pods-ip", "host-port-pods-ip6"), 1
    )
    there.add("c1")
    assert there.host_ports() == {}


def test_check(there: World) -> None:
    result = there.add("c1", tcp(80), tcp(81, hostIP=NODE[6]))
    asked = (tcp(80), tcp(81, hostIP=NODE[6]))
    assert there.call("CHECK", "c1", *asked, prevResult=result) == Answer(0, None)
    for command in (
        "delete element inet nodeplane-cni host-ports-any-ip { tcp . 80 }",
        "delete element inet nodeplane-cni host-ports-any-ip6 { tcp . 80 }",
        "add element inet nodeplane-cni host-ports-any-ip6 { tcp . 80 : fd00::1 . 1 }",
    ):
        done = run_in(there.node.path, "nft", command)
        assert done.returncode == 0, done.stderr
    (link,) = there.node.links()
    run_in(there.node.path, "sysctl", "-qw", f"net.ipv4.conf.{link}.route_localnet=0")

    answer = there.call("CHECK", "c1", *asked, prevResult=result)

    assert answer.body["code"] == 102
    assert answer.body["details"].split("; ") == [
        "host port *:80/tcp: missing",
        "host port *:80/tcp: leads to another place",
        f"net.ipv4.conf.{link}.route_localnet is 0, expected 1",
    ]
    # An ADD puts it right.
    there.add("c1", *asked)
    assert there.call("CHECK", "c1", *asked, prevResult=result) == Answer(0, None)


def test_garbage(there: World) -> None:
    """GC takes what is of its own network and not valid."""
    there.add("c1", tcp(80))
    there.add("c2", tcp(81), name="other")
    before = there.host_ports()

    valid = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}
    assert there.call("GC", "c1", **valid) == Answer(0, None)
    assert there.host_ports() == before
    assert there.call("GC", "c1", **{"cni.dev/valid-attachments": []}) == Answer(0, None)

    assert ask(there.outside, "tcp", NODE[4], 80, 4).answer == "refuse"
    assert ask(there.outside, "tcp", NODE[4], 81, 4).answer == ("c2", OUTSIDE[4])


def test_del_without_anything(there: World) -> None:
    """As runtimes send it at last: no namespace, no port mappings, and after somebody's wipe of the table."""
    there.add("c1", tcp(80))
    run_in(there.node.path, "nft", "delete", "table", "inet", "nodeplane-cni")

    answer = there.node.call("DEL", "", container="c1", args="")

    assert answer == Answer(0, None)
    assert there.host_ports() == {}


def test_a_wiped_table_comes_back_with_the_next_pod(there: World) -> None:
    """Without an agent: whoever makes it anew puts in what others have."""
    there.add("c1", tcp(80))
    run_in(there.node.path, "nft", "delete", "table", "inet", "nodeplane-cni")

    there.add("c2", tcp(81))

    assert ask(there.outside, "tcp", NODE[4], 80, 4).answer == ("c1", OUTSIDE[4])
    assert ask(there.outside, "tcp", NODE[6], 81, 6).answer == ("c2", OUTSIDE[6])


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(
            "flush chain inet nodeplane-cni host-ports; add chain inet nodeplane-cni x", id="a chain"
        ),
        pytest.param("delete chain inet nodeplane-cni pods-out", id="a base chain"),
        pytest.param("add table inet nodeplane-cni { flags dormant; }", id="asleep"),
        pytest.param(
            'delete table inet nodeplane-cni; add table inet nodeplane-cni { comment "other"; };'
            "add map inet nodeplane-cni host-ports-ip { type mark : mark; }",
            id="another's",
        ),
    ],
)
def test_a_damaged_table_is_repaired_by_the_next_pod(there: World, damage: str) -> None:
    there.add("c1", tcp(80))
    done = run_in(there.node.path, "nft", damage)
    assert done.returncode == 0, done.stderr

    there.add("c2", tcp(81))

    state = there.table()
    assert state is not None
    assert state.holds(NODE_TABLE)
    assert ask(there.outside, "tcp", NODE[4], 80, 4).answer == ("c1", OUTSIDE[4])
    assert ask(there.outside, "tcp", NODE[6], 81, 6).answer == ("c2", OUTSIDE[6])


def test_nft_lists_it(there: World) -> None:
    there.add("c1", *ALL)

    done = run_in(there.node.path, "nft", "list", "ruleset")

    assert (done.returncode, done.stderr) == (0, "")
    assert f"tcp . 80 : {there.addresses['c1'][4]} . 8080" in done.stdout
