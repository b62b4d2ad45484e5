"""A dummy link and its addresses in one batch, for the kernel that has IPVS and for the fake."""

from collections.abc import Iterator
from ipaddress import ip_interface

import pytest

from nodeplane.datapath.rtnl import AddressAddition, AddressDeletion, Rtnl, open_rtnl
from nodeplane.datapath.rtnl.fake import FakeKernel
from nodeplane.errors import KernelExistsError
from tests.netns_fixture import namespace

ONE, TWO, SIX = map(ip_interface, ("10.96.0.1/32", "10.96.0.2/32", "fd00:96::1/128"))


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.ipvs)])
def rtnl(request: pytest.FixtureRequest) -> Iterator[Rtnl]:
    if request.param == "fake":
        yield FakeKernel().rtnl()
        return
    with namespace() as ns, open_rtnl(ns) as kernel:
        yield kernel


def test_addresses_come_and_go(rtnl: Rtnl) -> None:
    """Also while the link is down, as the services' link is."""
    rtnl.add_dummy("d0")
    added = rtnl.apply([AddressAddition("d0", each) for each in (ONE, TWO, SIX, ONE)])
    there = rtnl.addresses("d0") | rtnl.addresses("d0", 6)
    removed = rtnl.apply([AddressDeletion("d0", each) for each in (ONE, SIX, SIX)])

    assert {position: error.errno for position, error in added.items()} == {3: 17}
    assert there == {ONE, TWO, SIX}
    assert {position: str(error) for position, error in removed.items()} == {
        2: "delete address fd00:96::1/128 from d0: Cannot assign requested address (EADDRNOTAVAIL)"
    }
    assert rtnl.addresses("d0") | rtnl.addresses("d0", 6) == {TWO}
    assert rtnl.link("d0").kind == "dummy"


def test_a_name_that_is_taken(rtnl: Rtnl) -> None:
    rtnl.add_dummy("d0")
    with pytest.raises(KernelExistsError, match="create dummy d0"):
        rtnl.add_dummy("d0")
