"""The very address that is asked for: given, or refused with the reason."""

from ipaddress import ip_address

import msgspec
import pytest

from ipam.errors import AddressInUseError, AddressRefusedError, IpamError
from ipam.model import Policy, Pool
from tests.ipam.stand import Stand
from tests.ipam.values import network

# n1 begins with 10.0.0.0/30, n5 with 10.0.0.4/30.
POOL = Pool("default", network("10.0.0.0/28"), 30, reserved=(network("10.0.0.13/32"),))
SIX = Pool("six", network("fd00::/124"), 126)
LINK = Pool("link", network("10.8.0.0/29"), 30, on_link=True)
OFF = Pool("off", network("10.7.0.0/28"), 30, disabled=True)
RED = Pool("red", network("10.6.0.0/28"), 30, namespace_selector="team == 'red'")
EAST = Pool("east", network("10.5.0.0/28"), 30, node_selector="zone=east")


@pytest.fixture
def stand() -> Stand:
    """Return nodes n1 and n5 with a block each, in which they have one address."""
    stand = Stand(POOL)
    stand.add(1, "n1")
    stand.add(5, "n5")
    stand.pools = (POOL, LINK, OFF, RED, EAST)
    return stand


@pytest.mark.parametrize(
    ("address", "blocks"),
    [
        pytest.param("10.0.0.2", {"10.0.0.0/30": "n1 2"}, id="of an own block"),
        pytest.param("10.0.0.10", {"10.0.0.8/30": "n1 1"}, id="of a block that nobody has: it is claimed"),
        pytest.param("10.0.0.7", {"10.0.0.4/30": "n5 2"}, id="of another's block: it is borrowed"),
        pytest.param("10.8.0.1", {"10.8.0.0/30": "n1 1"}, id="next to an edge"),
    ],
)
def test_given(stand: Stand, address: str, blocks: dict[str, str]) -> None:
    before = stand.blocks()

    assert stand.add(2, addresses=(ip_address(address),), families=(4,)) == address
    assert stand.blocks() == before | blocks
    # A repeated ADD gets the same, and so does another one after it was freed: who asks need not wait.
    assert stand.add(2, addresses=(ip_address(address),), families=(4,)) == address
    stand.delete(2)
    assert stand.add(3, addresses=(ip_address(address),), families=(4,)) == address


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        pytest.param(
            "10.0.0.0",
            AddressInUseError,
            "10.0.0.0 is in use by pod default/web-1 (c1/eth0) on node n1",
            id="in use",
        ),
        pytest.param(
            "10.0.0.13",
            AddressRefusedError,
            "10.0.0.13 can't be given out: it is reserved in pool default",
            id="reserved",
        ),
        pytest.param(
            "10.8.0.7",
            AddressRefusedError,
            "10.8.0.7 can't be given out: it is an edge of 10.8.0.0/29, which pool link has on a link",
            id="broadcast",
        ),
        pytest.param(
            "10.7.0.1",
            AddressRefusedError,
            "10.7.0.1 can't be given out: pool off is disabled",
            id="disabled",
        ),
        pytest.param(
            "10.6.0.1",
            AddressRefusedError,
            "10.6.0.1 can't be given out: pool red is not for namespace default, its namespaceSelector is "
            "\"team == 'red'\"",
            id="namespace",
        ),
        pytest.param(
            "10.5.0.1",
            AddressRefusedError,
            "10.5.0.1 can't be given out: pool east is not for node n1, its nodeSelector is 'zone=east'",
            id="node",
        ),
        pytest.param(
            "192.0.2.1",
            AddressRefusedError,
            "192.0.2.1 lies in no pool: the pools for IPv4 are default 10.0.0.0/28, link 10.8.0.0/29, off "
            "10.7.0.0/28, red 10.6.0.0/28, east 10.5.0.0/28",
            id="outside",
        ),
        pytest.param(
            "2001:db8::1",
            AddressRefusedError,
            "2001:db8::1 lies in no pool: the pools for IPv6 are none",
            id="of a family that no pool has",
        ),
    ],
)
def test_refused(stand: Stand, address: str, error: type[IpamError], message: str) -> None:
    before = stand.allocations()

    with pytest.raises(error) as caught:
        stand.add(2, addresses=(ip_address(address),))

    assert str(caught.value) == message
    assert stand.allocations() == before


@pytest.mark.parametrize(
    ("policy", "address", "message"),
    [
        pytest.param(
            Policy(strict_affinity=True),
            "10.0.0.6",
            "block 10.0.0.4/30 is of node n5, and strictAffinity keeps node n1 from it",
            id="strict affinity",
        ),
        pytest.param(
            Policy(max_blocks_per_node=1),
            "10.0.0.9",
            "block 10.0.0.8/30 has no node, and node n1 has all 1 blocks that maxBlocksPerNode allows",
            id="no more blocks",
        ),
    ],
)
def test_policy_holds_for_a_wanted_address(stand: Stand, policy: Policy, address: str, message: str) -> None:
    stand.policy = policy

    with pytest.raises(AddressRefusedError) as caught:
        stand.add(2, addresses=(ip_address(address),))

    assert str(caught.value) == message


def test_a_tunnel_address_is_nobody_elses(stand: Stand) -> None:
    stand.pools = (POOL,)
    [ip] = stand.allocator().assign_tunnel("n1", POOL).ips

    with pytest.raises(AddressInUseError) as caught:
        stand.add(2, addresses=(ip.address.ip,))

    assert str(caught.value) == f"{ip.address.ip} is in use as the tunnel address of node n1"


def test_the_other_family_is_chosen_for_the_pod() -> None:
    stand = Stand(POOL, SIX)

    assert stand.add(1, addresses=(ip_address("fd00::6"),)) == "10.0.0.0,fd00::6"
    assert stand.add(2, addresses=(ip_address("10.0.0.3"), ip_address("fd00::7"))) == "10.0.0.3,fd00::7"


def test_of_several_sets_the_one_that_has_it_gives_it() -> None:
    stand = Stand(POOL, LINK)
    sets = (("default",), ("link",), ("default",))

    got = stand.add(1, sets=sets, addresses=(ip_address("10.8.0.2"), ip_address("10.0.0.9")))

    assert got == "10.0.0.9,10.8.0.2,10.0.0.10"
    with pytest.raises(AddressRefusedError) as caught:
        stand.add(2, sets=sets[:1], addresses=(ip_address("10.0.0.2"), ip_address("10.0.0.3")))
    assert str(caught.value) == "10.0.0.3 was asked for, where no further address is given out"


def test_a_reservation_that_ended_is_over(stand: Stand) -> None:
    stand.pools = (POOL,)
    stand.fill(range(10, 22))
    stand.pools = (msgspec.structs.replace(POOL, reserved=()),)

    assert stand.add(30, addresses=(ip_address("10.0.0.13"),)) == "10.0.0.13"
