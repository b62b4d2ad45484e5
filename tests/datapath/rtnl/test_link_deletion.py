"""A link is gone when its deletion returns, on both sides, and its name is free."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import Rtnl, open_rtnl
from nodeplane.errors import KernelNotFoundError
from tests.netns_fixture import eventually, namespace

pytestmark = pytest.mark.netns


@contextmanager
def two() -> Iterator[tuple[Path, Path]]:
    with namespace("near") as near, namespace("far") as far:
        yield near, far


def test_both_ends_are_gone_and_the_name_is_free() -> None:
    with two() as (near, far), open_rtnl(near) as here, open_rtnl(far) as there:
        for _ in range(20):
            here.add_veth("v0", "eth0", far)
            there.add_address("eth0", IPv4Interface("10.0.0.1/32"))
            here.set_up("v0")
            there.set_up("eth0")

            here.delete_link("v0")

            assert (here.find_link("v0"), there.find_link("eth0")) == (None, None)


def test_of_the_namespace_that_the_socket_is_in() -> None:
    """And not of the one that the calling thread happens to be in."""
    with two() as (near, far), open_rtnl(near) as here:
        here.add_veth("v0", "v1")
        with netns.inside(far), open_rtnl() as there:
            there.add_veth("v0", "v1")
            here.delete_link("v0")

            assert there.find_link("v0") is not None
        assert here.find_link("v0") is None


def test_many_at_once() -> None:
    with two() as (near, far):
        names = [f"v{number}" for number in range(16)]
        with open_rtnl(near) as here:
            for name in names:
                here.add_veth(name, f"e{name}", far)

        def delete(name: str) -> bool:
            with open_rtnl(near) as rtnl:
                rtnl.delete_link(name)
                return rtnl.find_link(name) is None

        with ThreadPoolExecutor(8) as executor:
            assert all(executor.map(delete, names))


@pytest.mark.parametrize("callers", [2, 4])
def test_one_link_by_several(callers: int) -> None:
    """One of them deletes it; the others are told that it is gone, or that it went."""
    with two() as (near, far), ThreadPoolExecutor(callers) as executor:
        for _ in range(5):
            with open_rtnl(near) as here:
                here.add_veth("v0", "eth0", far)
                start = threading.Barrier(callers)
                assert True in executor.map(
                    lambda _, near=near, start=start: attempt(near, start), range(callers)
                )
                assert here.find_link("v0") is None


def attempt(near: Path, start: threading.Barrier) -> bool:
    with open_rtnl(near) as rtnl:
        start.wait()
        try:
            rtnl.delete_link("v0")
        except KernelNotFoundError:
            return False
        return True


def test_no_thread_is_left() -> None:
    """They wait for the kernel and end with it."""
    with two() as (near, far), open_rtnl(near) as here:
        delete_some(here, far)

        eventually(
            lambda: [each.name for each in threading.enumerate()],
            lambda names: "delete-link" not in str(names),
        )


def delete_some(here: Rtnl, far: Path) -> None:
    for _ in range(5):
        here.add_veth("v0", "eth0", far)
        here.delete_link("v0")
