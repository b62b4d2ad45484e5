"""On which addresses node ports are served."""

from ipaddress import ip_address, ip_network

import pytest

from kubeproxy.config.settings import NodePortAddresses, Settings
from kubeproxy.node_port_ips import pack_all, place_node_ports
from tests.kubeproxy.objects import node

INTERFACES = ("127.0.0.1", "::1", "192.0.2.1", "10.0.0.1", "10.0.0.2", "2001:db8::1", "fe80::1")
N1 = node("n1", "192.0.2.1", "2001:db8::1")


def networks(*texts: str) -> NodePortAddresses:
    return NodePortAddresses(networks=tuple(map(ip_network, texts)))


def addresses(texts: tuple[str, ...] | None) -> frozenset[object] | None:
    return None if texts is None else frozenset(map(ip_address, texts))


@pytest.mark.parametrize(
    ("wanted", "ip", "ip6"),
    [
        pytest.param(NodePortAddresses(), None, None, id="everywhere"),
        pytest.param(NodePortAddresses(is_primary=True), ("192.0.2.1",), ("2001:db8::1",), id="primary"),
        pytest.param(networks("10.0.0.0/8"), ("10.0.0.1", "10.0.0.2"), None, id="one family"),
        pytest.param(
            networks("10.0.0.1/32", "192.0.2.0/24"), ("10.0.0.1", "192.0.2.1"), None, id="two networks"
        ),
        pytest.param(
            networks("10.0.0.1/32", "2001:db8::/64"), ("10.0.0.1",), ("2001:db8::1",), id="both families"
        ),
        pytest.param(networks("127.0.0.0/8", "::1/128"), (), (), id="never on loopback"),
        pytest.param(networks("198.51.100.0/24"), (), None, id="nowhere"),
        pytest.param(networks("0.0.0.0/0"), None, None, id="all of one"),
    ],
)
def test_place(wanted: NodePortAddresses, ip: tuple[str, ...] | None, ip6: tuple[str, ...] | None) -> None:
    """Interfaces that a CIDR names, or the Node's own addresses; loopback never."""
    placed = place_node_ports(Settings(node_port_addresses=wanted), N1, map(ip_address, INTERFACES))

    assert placed == {"ip": addresses(ip), "ip6": addresses(ip6)}
    assert pack_all(placed) == {ip_address(text).packed for text in (*(ip or ()), *(ip6 or ()))}


def test_primary_without_a_node() -> None:
    """Nothing is known, so nothing is served; bindAddress says what the Node does not."""
    primary = NodePortAddresses(is_primary=True)
    override = Settings(node_port_addresses=primary, node_ips=(ip_address("192.0.2.9"),))

    assert place_node_ports(Settings(node_port_addresses=primary), None, ()) == {
        "ip": frozenset(),
        "ip6": frozenset(),
    }
    assert place_node_ports(override, None, ()) == {"ip": addresses(("192.0.2.9",)), "ip6": frozenset()}
