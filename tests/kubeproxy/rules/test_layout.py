"""Keys and data survive the way into the kernel's form and back."""

import ipaddress
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeproxy.rules import layout
from kubeproxy.rules.addresses import Address, pack_address
from kubeproxy.rules.layout import PROTOCOLS, Endpoint, Frontend
from tests.kubeproxy.objects import at

ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
PORTS = st.integers(1, 65535)
VALUES = st.integers(0, 2**32 - 1)


@given(ADDRESSES, st.sampled_from(sorted(PROTOCOLS)), PORTS)
def test_frontend_round_trip(address: Address, protocol: str, port: int) -> None:
    """A frontend is its key, a node port too."""
    key = layout.encode_frontend(pack_address(str(address)), protocol, port)

    assert layout.decode_frontend(key) == Frontend(address, protocol, port)
    assert layout.decode_frontend(layout.encode_node_port(protocol, port)) == Frontend(None, protocol, port)


@given(VALUES, VALUES)
def test_slot_round_trip(value: int, index: int) -> None:
    """A slot is its key, and a value is a frontend's data."""
    assert layout.decode_slot(layout.encode_slot(value, index)) == (value, index)
    assert layout.decode_value(layout.encode_value(value)) == value


@given(ADDRESSES, PORTS)
def test_endpoint_round_trip(address: Address, port: int) -> None:
    """An endpoint is a slot's data."""
    assert layout.decode_endpoint(at(str(address), port)) == Endpoint(address, port)


@given(
    st.one_of(
        st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)),
        st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6)),
    ),
    st.integers(0, 32),
)
def test_range_round_trip(addresses: tuple[Address, Address], bits: int) -> None:
    """A range is its first and its last address, at one frontend or for all protocols."""
    address, client = addresses
    network = ipaddress.ip_network(f"{client}/{bits}", strict=False)
    frontend = layout.encode_frontend(address.packed, "TCP", 443)
    expected = (network[0], network[-1])

    source_range = layout.encode_source_range(frontend, network)
    assert source_range[: len(frontend)] == frontend
    assert layout.decode_ranges(source_range, len(address.packed)) == expected
    assert layout.decode_ranges(layout.encode_service_cidr(network), len(address.packed)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Frontend(IPv4Address("10.96.0.1"), "TCP", 80), "TCP 10.96.0.1:80"),
        (Frontend(IPv6Address("fd00::1"), "UDP", 53), "UDP [fd00::1]:53"),
        (Frontend(None, "SCTP", 30080), "SCTP node port 30080"),
        (Endpoint(IPv6Address("fd00::1"), 53), "[fd00::1]:53"),
        (layout.decode_frontend(bytes((10, 96, 0, 1, 1, 0, 0, 0, 0, 80, 0, 0))), "1 10.96.0.1:80"),
    ],
)
def test_text(value: Frontend | Endpoint, expected: str) -> None:
    """As people write them; a protocol of somebody else's by its number."""
    assert str(value) == expected
