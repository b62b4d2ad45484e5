"""Keys and data survive the way into the kernel's form and back."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeproxy import layout
from kubeproxy.layout import MAX_ENDPOINTS, PROTOCOLS, REJECT, SIZES, Endpoint, Frontend, Pool, pool_for

ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
PORTS = st.integers(1, 65535)
POOLS = st.builds(Pool, st.integers(0, 255), st.integers(0, (1 << layout.POOL_BITS) - 1))


@given(st.builds(Frontend, ADDRESSES, st.sampled_from(sorted(PROTOCOLS)), PORTS))
def test_frontend_round_trip(frontend: Frontend) -> None:
    """A frontend is its key."""
    assert layout.decode_frontend(layout.encode_frontend(frontend)) == frontend


@given(POOLS, st.integers(0, MAX_ENDPOINTS - 1))
def test_slot_round_trip(pool: Pool, index: int) -> None:
    """A slot is its key, and a pool is a frontend's data."""
    assert layout.decode_slot(layout.encode_slot(pool, index)) == (pool, index)
    assert layout.decode_pool(pool.encode()) == pool


@given(st.builds(Endpoint, ADDRESSES, PORTS))
def test_endpoint_round_trip(endpoint: Endpoint) -> None:
    """An endpoint is a slot's data."""
    assert layout.decode_endpoint(layout.encode_endpoint(endpoint)) == endpoint
    assert layout.decode_hairpin(layout.encode_hairpin(endpoint.address)) == endpoint.address


@given(st.integers(1, MAX_ENDPOINTS))
def test_pool_size(endpoints: int) -> None:
    """A pool has the smallest size that holds its endpoints."""
    pool = pool_for(7, endpoints)

    assert pool.number == 7
    assert pool.size >= endpoints
    assert all(size < endpoints for size in SIZES[: pool.class_])


def test_pool_too_large() -> None:
    """No size holds more than MAX_ENDPOINTS."""
    with pytest.raises(ValueError, match="at most 65536 endpoints"):
        pool_for(1, MAX_ENDPOINTS + 1)


def test_read_services() -> None:
    """Elements tell the whole story again: endpoints in slot order, refused frontends without any."""
    pool = pool_for(3, 2)
    web = Frontend(IPv4Address("10.96.0.1"), "TCP", 80)
    empty = Frontend(IPv6Address("fd00::1"), "UDP", 53)
    endpoints = [Endpoint(IPv4Address("10.244.0.1"), 8080), Endpoint(IPv4Address("10.244.0.2"), 8080)]
    elements = {
        layout.FRONTENDS: {
            layout.encode_frontend(web): pool.encode(),
            layout.encode_frontend(empty): REJECT.encode(),
        },
        layout.SLOTS: {
            layout.encode_slot(pool, index): layout.encode_endpoint(endpoints[index]) for index in (1, 0)
        },
    }

    assert layout.read_services(elements) == {web: (pool, endpoints), empty: (REJECT, [])}
    assert [str(web), str(empty), str(pool)] == ["TCP 10.96.0.1:80", "UDP [fd00::1]:53", "100:3"]
