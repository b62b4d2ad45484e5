"""The addresses of a namespace: one contract for the kernel and the fake."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager
from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeplane.datapath.local_addresses import (
    FakeAddresses,
    KernelAddresses,
    LocalAddresses,
    decode_address,
)
from nodeplane.datapath.rtnl import open_rtnl
from nodeplane.errors import KernelNotFoundError
from tests.netns_fixture import namespace, run_in, veth_pair

LOOPBACK = {"127.0.0.1", "::1"}

Assign = Callable[[str], None]


@contextmanager
def kernel() -> Iterator[tuple[LocalAddresses, Assign]]:
    with namespace() as ns:

        def assign(address: str) -> None:
            length = "128" if ":" in address else "32"
            assert run_in(ns, "ip", "address", "add", f"{address}/{length}", "dev", "lo").returncode == 0

        yield KernelAddresses(ns), assign


@contextmanager
def fake() -> Iterator[tuple[LocalAddresses, Assign]]:
    addresses = FakeAddresses(*LOOPBACK)
    yield addresses, lambda address: addresses.assign(*map(str, addresses.read()), address)


EDGES = [pytest.param(kernel, marks=pytest.mark.netns), fake]
Open = Callable[[], AbstractContextManager[tuple[LocalAddresses, Assign]]]


def texts(addresses: LocalAddresses) -> set[str]:
    return {str(address) for address in addresses.read()}


@pytest.mark.parametrize("edge", EDGES)
def test_read(edge: Open) -> None:
    """All addresses of both families."""
    with edge() as (addresses, assign):
        before = texts(addresses)
        assign("192.0.2.1")
        assign("2001:db8::1")

        assert (before, texts(addresses)) == (LOOPBACK, LOOPBACK | {"192.0.2.1", "2001:db8::1"})


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_changes(edge: Open, address: str) -> None:
    """Told once when it listens, and after each change: what came in between is not missed."""
    with edge() as (addresses, assign):

        async def scenario() -> None:
            async with aclosing(addresses.changes()) as changes, asyncio.timeout(30):
                await anext(changes)
                assign(address)
                await anext(changes)
                assert address in texts(addresses)

        asyncio.run(scenario())


@pytest.mark.netns
def test_point_to_point() -> None:
    """On a link with a peer address, ours is ours; a link that goes takes its addresses along."""
    with namespace("a") as ns, namespace("b") as other, veth_pair(ns, "h0", other, "h1"):
        addresses = KernelAddresses(ns)
        done = run_in(ns, "ip", "address", "add", "192.0.2.1", "peer", "192.0.2.2", "dev", "h0")
        assert done.returncode == 0, done.stderr
        found = {text for text in texts(addresses) if text.startswith("192.")}

        async def scenario() -> None:
            async with aclosing(addresses.changes()) as changes, asyncio.timeout(30):
                await anext(changes)
                run_in(ns, "ip", "link", "delete", "h0")
                while "192.0.2.1" in texts(addresses):
                    await anext(changes)

        asyncio.run(scenario())
    assert found == {"192.0.2.1"}


def test_no_namespace() -> None:
    """A namespace that is not there is an error with a name."""
    with pytest.raises(KernelNotFoundError):
        KernelAddresses(Path("/nonexistent")).read()


@given(st.binary(max_size=80))
def test_garbage(body: bytes) -> None:
    """Any bytes are an address or none."""
    decode_address(memoryview(body))


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("0800010a000002", None),
        ("080001000a000002", "10.0.0.2"),
        ("080001000a000002" "080002000a000001", "10.0.0.1"),
        ("14000100" "20010db8000000000000000000000001", "2001:db8::1"),
        ("", None),
    ],
)  # fmt: skip
def test_decode(attributes: str, expected: str | None) -> None:
    """IFA_LOCAL is ours, IFA_ADDRESS where there is no other."""
    found = decode_address(memoryview(bytes(8) + bytes.fromhex(attributes)))

    assert found == (ip_address(expected) if expected else None)


@pytest.mark.netns
def test_a_link_is_left_out() -> None:
    """Its addresses are not told, and what happens to them neither."""
    with (
        namespace("near") as near,
        namespace("far") as far,
        veth_pair(near, "v0", far, "v0"),
        open_rtnl(near) as rtnl,
    ):
        rtnl.add_bridge("b0")
        addresses = KernelAddresses(near, without="b0")

        async def follow() -> bool:
            async with aclosing(addresses.changes()) as changes:
                await anext(changes)
                rtnl.add_address("b0", ip_interface("10.9.0.1/32"))
                told = asyncio.ensure_future(anext(changes))
                # Notifications are there when the change is made; so many rounds would have read it.
                for _ in range(100):
                    await asyncio.sleep(0)
                is_told = told.done()
                rtnl.add_address("v0", ip_interface("10.9.0.2/32"))
                await told
            return is_told

        assert not asyncio.run(follow())
        found = {str(address) for address in addresses.read()}

    assert "10.9.0.2" in found
    assert "10.9.0.1" not in found
