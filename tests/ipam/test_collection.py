"""Nothing is freed on one look, nor when anything about it has changed."""

import msgspec
import pytest

from ipam.collection import Absence, Patience, collect
from ipam.leaks import Leak
from ipam.model import Pool
from tests.ipam.stand import Stand
from tests.ipam.values import allocation, network

POOL = Pool("default", network("10.0.0.0/26"), 26)
ONE = Leak(allocation(1, "10.0.0.64"), "gone")
SURE = Leak(allocation(2, "10.0.0.65"), "gone", is_certain=True)
# The same address, given to another container since.
ANEW = Leak(msgspec.structs.replace(ONE.allocation, sequence=9), "gone")


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        pytest.param([(0, [ONE])], [], id="first look"),
        pytest.param([(0, [ONE]), (299, [ONE])], [], id="too soon"),
        pytest.param([(0, [ONE]), (300, [ONE])], [ONE], id="after the grace"),
        pytest.param([(0, [ONE]), (200, []), (300, [ONE])], [], id="it was there in between"),
        pytest.param([(0, [ONE]), (200, [ANEW]), (300, [ANEW])], [], id="another allocation since"),
        pytest.param([(0, [ONE]), (200, [ANEW]), (500, [ANEW])], [ANEW], id="which waits as long"),
        pytest.param([(0, [SURE, ONE])], [SURE], id="of an earlier boot"),
    ],
)
def test_patience(looks: list[tuple[int, list[Leak]]], expected: list[Leak]) -> None:
    patience = Patience(300)
    due: list[Leak] = []
    for now_s, leaks in looks:
        due = patience.judge(leaks, now_s)

    assert due == expected
    assert patience.candidates == len(looks[-1][1])


def test_without_a_grace_one_look_will_do() -> None:
    assert Patience(0).judge([ONE], 5) == [ONE]


def test_what_is_freed_is_forgotten() -> None:
    patience = Patience(300)
    patience.judge([ONE, SURE], 0)
    patience.forget([ONE.allocation])

    assert patience.candidates == 1


def test_collect() -> None:
    stand = Stand(POOL)
    stand.fill(range(4))
    leaks = [Leak(item, "gone") for item in stand.allocations()]
    changed, there, *left_behind = leaks
    stand.delete(0)
    stand.add(9)

    done = collect(stand.datastore, leaks, lambda leak: leak is not there, 2000)

    assert (done.freed, done.kept) == (tuple(left_behind), (changed, there))
    assert {item.handle.container_id for item in stand.allocations()} == {"c1", "c9"}


def test_a_repeated_add_saves_its_address() -> None:
    """The runtime asks again, from a new namespace, between the look and the transaction."""
    stand = Stand(POOL)
    address = stand.add(1)
    [leak] = [Leak(item, "gone") for item in stand.allocations()]
    assert stand.add(1, netns="/run/netns/other") == address

    done = collect(stand.datastore, [leak], lambda _: True, 2000)

    assert done.freed == ()
    assert [str(item.address) for item in stand.allocations()] == [address]


def test_the_last_look_is_within_the_transaction() -> None:
    """A namespace is made anew and its ADD answered after that look: the records differ, it is kept."""
    stand = Stand(POOL)
    address = stand.add(1)
    [leak] = [Leak(item, "gone") for item in stand.allocations()]
    looks: list[Leak] = []

    def still(seen: Leak) -> bool:
        looks.append(seen)
        assert stand.add(1) == address
        return True

    assert collect(stand.datastore, [leak], still, 2000).freed == ()
    assert len(looks) == 1
    assert [str(item.address) for item in stand.allocations()] == [address]


def test_absence() -> None:
    absence = Absence(300)
    named = {"n1", "n2"}

    assert absence.judge({"n1"}, named, 0) == {"n1", "n2"}
    assert absence.judge({"n1"}, named, 299) == {"n1", "n2"}
    assert absence.is_waiting
    assert absence.judge({"n1"}, named, 300) == {"n1"}
    assert absence.judge({"n1", "n2"}, named, 301) == {"n1", "n2"}
    assert absence.judge({"n1"}, named, 302) == {"n1", "n2"}
