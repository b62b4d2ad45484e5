"""Addresses and networks as API servers have them."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeproxy.rules.addresses import Address, Network, family_of, pack_address, parse_network

ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@given(ADDRESSES)
def test_address_round_trip(address: Address) -> None:
    """An address is its bytes, and its family's tables hold it."""
    packed = pack_address(str(address))

    assert ip_address(packed) == address
    assert family_of(address) == ("ip" if len(packed) == 4 else "ip6")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("010.096.0.001", "10.96.0.1"), ("00.1.0.0", "0.1.0.0"), ("FD00:0::1", "fd00::1")],
)
def test_old_address(text: str, expected: str) -> None:
    """Addresses of old objects may have leading zeros, which are not octal."""
    assert pack_address(text) == ip_address(expected).packed


@pytest.mark.parametrize(
    "text", ["", "web", "10..0.1", "0x10.0.0.1", "10.0.0", "10.0.0.256", "fe80::1%eth0", "::ffff:1.2.3"]
)
def test_no_address(text: str) -> None:
    """What is no address is an error."""
    with pytest.raises(OSError, match="illegal IP address"):
        pack_address(text)


@pytest.mark.parametrize(
    ("text", "expected", "family"),
    [
        (" 10.1.2.3/8 ", "10.0.0.0/8", "ip"),
        ("010.00.0.0/08", "10.0.0.0/8", "ip"),
        ("FD00::1/8", "fd00::/8", "ip6"),
    ],
)
def test_network(text: str, expected: str, family: str) -> None:
    """Networks may have spaces around them, host bits and leading zeros."""
    network: Network = parse_network(text)

    assert (str(network), family_of(network)) == (expected, family)


@pytest.mark.parametrize("text", ["", "bad", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/255.0.0.0", "fd00::/x"])
def test_no_network(text: str) -> None:
    """What is no network is an error; an address alone is none, nor is a mask a length."""
    with pytest.raises(ValueError, match=r"'.*'"):
        parse_network(text)
