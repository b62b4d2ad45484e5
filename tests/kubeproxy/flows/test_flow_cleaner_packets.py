"""Stale flows with real packets: a client that keeps its port, a node with our table, pods behind it."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from kubeproxy.family_proxier import FamilyProxier
from kubeproxy.flows.flow_cleaner import FlowCleaner
from kubeproxy.proxier import Proxier
from kubeproxy.rules.layout import TABLE
from nodeplane.datapath import netns
from nodeplane.datapath.conntrack.table import KernelConntrack
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.datapath.routing import KernelRouting
from nodeplane.kube.store import diff_objects
from tests.kubeproxy.flows.net import Net, another, dns, ids, local
from tests.netns_fixture import eventually

pytestmark = pytest.mark.netns


@pytest.fixture(params=["ip", "ip6"])
def family(request: pytest.FixtureRequest) -> Family:
    return "ip" if request.param == "ip" else "ip6"


@pytest.fixture
def net(family: Family) -> Iterator[Net]:
    with ExitStack() as stack:
        yield Net(family, stack, terminate_removed=False)


@pytest.fixture
def strict_net(family: Family) -> Iterator[Net]:
    with ExitStack() as stack:
        yield Net(family, stack, terminate_removed=True)


def test_endpoint_removed(net: Net) -> None:
    """The next packet goes to another endpoint."""
    web = dns(net.family)
    net.show(web, net.pods("pod 1", "pod 2"))
    ask = net.udp_client()
    first = ask()
    assert {ask() for _ in range(3)} == {first}

    assert net.show(web, net.pods(another(first))) == 1
    assert ask() == another(first)


def test_endpoint_terminates(net: Net) -> None:
    """It serves the flows that it has while it terminates, also beside a ready one."""
    web = dns(net.family)
    net.show(web, net.pods("pod 1"))
    ask = net.udp_client()
    assert ask() == "pod 1"

    assert net.show(web, net.pods("pod 1", draining="pod 1")) == 0
    assert ask() == "pod 1"
    assert net.show(web, net.pods("pod 1", "pod 2", draining="pod 1")) == 0
    assert ask() == "pod 1"
    assert net.show(web, net.pods("pod 2")) == 1
    assert ask() == "pod 2"


def test_scale_to_zero_and_back(net: Net) -> None:
    """Without endpoints the client is told so at once (k/k 139628), and served when there are some again."""
    web = dns(net.family)
    net.show(web, net.pods("pod 1", "pod 2"))
    ask = net.udp_client()
    assert ask().startswith("pod")

    assert net.show(web, net.pods()) == 1
    assert ask() == "refused"
    assert net.show(web, net.pods("pod 2")) == 0
    assert ask() == "pod 2"


def test_service_created_under_a_flow(net: Net) -> None:
    """A flow that was there first is served too."""
    net.show()
    # Without a nat chain nothing is tracked before the first sync.
    ask = net.udp_client()
    assert ask() == "nobody"

    assert net.show(dns(net.family), net.pods("pod 1")) == 1
    assert ask() == "pod 1"


def test_service_deleted(net: Net) -> None:
    """The address is nobody's again: nothing is translated any more."""
    net.show(dns(net.family), net.pods("pod 1"))
    ask = net.udp_client()
    assert ask() == "pod 1"

    assert net.show() == 1
    assert ask() == "nobody"
    assert not ids(net.tracked(), net.addresses["pod 1"])


def test_node_port(net: Net) -> None:
    """A process of the node's own yields to a node port; its flows move, and move on."""
    net.serve_on_node(30053)
    net.show()
    ask = net.udp_client("node", 30053)
    assert ask() == "the node's own"

    web = dns(net.family)
    assert net.show(web, net.pods("pod 1")) == 1
    assert ask() == "pod 1"
    assert net.show(web, net.pods("pod 2")) == 1
    assert ask() == "pod 2"
    assert net.show(web, net.pods()) == 1
    assert ask() == "refused"
    assert net.show(dns(net.family, has_node_ports=False), net.pods("pod 2")) == 0
    assert ask() == "the node's own"


def test_flip_to_local(net: Net) -> None:
    """A client from outside does not stay on another node's endpoint."""
    web = dns(net.family)
    net.show(web, net.pods("pod 2"))
    ask, inner = net.udp_client("node", 30053), net.udp_client()
    assert {ask(), inner()} == {"pod 2"}

    assert net.show(local(web), net.pods("pod 1", "pod 2")) == 1
    assert (ask(), inner()) == ("pod 1", "pod 2")


def test_bystanders(net: Net) -> None:
    """Flows to endpoints that stay, and those of other services to the same pods, are not touched."""
    web, other = dns(net.family), dns(net.family, "other", "other vip", has_node_ports=False)
    theirs = net.pods("pod 1", "pod 2", of="other")
    net.show(web, net.pods("pod 1", "pod 2"), other, theirs)
    mine = [net.udp_client() for _ in range(20)]
    first = [ask() for ask in mine]
    bystanders = [net.udp_client("other vip") for _ in range(6)]
    before = [ask() for ask in bystanders]
    assert {*first} == {"pod 1", "pod 2"}
    listed = net.tracked()

    assert net.show(web, net.pods("pod 1"), other, theirs) == first.count("pod 2")
    # Before another packet comes: what is gone is exactly the flows of the lost endpoint.
    vip, lost = f"dst={net.addresses['vip']} ", f"src={net.addresses['pod 2']} "
    assert ids(net.tracked()) == ids(listed) - ids(listed, vip, lost)
    assert {ask() for ask in mine} == {"pod 1"}
    assert [ask() for ask in bystanders] == before


def test_restart(net: Net) -> None:
    """What went stale while nobody ran is found at the start, and nothing else."""
    web = dns(net.family)
    net.show(web, net.pods("pod 1", "pod 2"))
    clients = [net.udp_client() for _ in range(20)]
    first = [ask() for ask in clients]
    assert {*first} == {"pod 1", "pod 2"}
    with ExitStack() as stack:
        with netns.inside(net.node_ns):
            table = stack.enter_context(KernelTable(net.family, TABLE))
            family_proxier = FamilyProxier(net.family, table)
            conntrack = stack.enter_context(KernelConntrack())
            routing = stack.enter_context(KernelRouting())
        cleaner = FlowCleaner(net.family, conntrack, routing)
        state = table.read(family_proxier.skeleton)
        assert state is not None
        cleaner.learn(state.elements)
        proxier = Proxier("n1", [family_proxier])
        proxier.take(diff_objects({}, {item.key: item for item in (web, net.pods("pod 1"))}))
        proxier.sync(full=True)

        assert asyncio.run(cleaner.clean(family_proxier.desired)).deleted == first.count("pod 2")
    assert {ask() for ask in clients} == {"pod 1"}


def is_reset(connection: socket.socket) -> bool:
    """Write until the connection is reset; say whether it was."""
    connection.settimeout(0.1)
    try:
        connection.send(b"?")
        connection.recv(100)
    except TimeoutError:
        return False
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


@pytest.mark.parametrize(("address", "port"), [("vip", 80), ("node", 30080)], ids=["cluster IP", "node port"])
@pytest.mark.parametrize("left", [("pod 2",), ()], ids=["another endpoint", "none left"])
def test_connection_ends_with_its_endpoint(
    strict_net: Net, left: tuple[str, ...], address: str, port: int
) -> None:
    """Both ends of a connection learn that it is over when they next write."""
    net = strict_net
    web = dns(net.family)
    first, second = net.listen("pod 1"), net.listen("pod 2")
    net.show(web, net.pods("pod 1"))
    client = net.tcp_client(address, port)
    server, _ = first.accept()
    with second, server:
        client.send(b"?")
        assert server.recv(100) == b"?"

        assert net.show(web, net.pods(*left)) == 1
        eventually(lambda: is_reset(client), bool)
        eventually(lambda: is_reset(server), bool)


def test_connection_outlives_what_is_not_its_end(strict_net: Net) -> None:
    """A connection stays while its endpoint only terminates, and while another one is removed."""
    net = strict_net
    web = dns(net.family)
    first = net.listen("pod 1")
    net.show(web, net.pods("pod 1", "pod 2", draining="pod 2"))
    client = net.tcp_client()
    server, _ = first.accept()
    with server:
        assert net.show(web, net.pods("pod 1", "pod 2", draining="pod 1")) == 0
        assert net.show(web, net.pods("pod 1", draining="pod 1")) == 0
        client.send(b"?")
        assert server.recv(100) == b"?"


def test_connections_are_left_alone(net: Net) -> None:
    """Unless it is asked for, no connection ends."""
    web = dns(net.family)
    first = net.listen("pod 1")
    net.show(web, net.pods("pod 1"))
    client = net.tcp_client()
    server, _ = first.accept()
    with server:
        assert net.show(web, net.pods("pod 2")) == 0
        client.send(b"?")
        assert server.recv(100) == b"?"
