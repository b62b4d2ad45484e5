"""How long a lab is waited for, and what is said when it does not come into service."""

import time
from ipaddress import IPv4Address, IPv4Network

import pytest

from netns_lab import probing
from netns_lab.probe import Connection, Probe
from netns_lab.probing import await_probes, uncovered
from netns_lab.topology import Topology
from nodeplane.datapath.rtnl import Route
from nodeplane.errors import NodeplaneError
from tests.netns_lab.samples import TOPOLOGY

PROBES = [Connection(f"n{number}", "10.96.0.1", 80) for number in range(4)]
POD = IPv4Address("10.244.1.2")
BLOCK = IPv4Network("10.244.1.0/26")


@pytest.mark.parametrize(
    ("routes", "missing"),
    [
        pytest.param([], ["10.244.1.2"], id="no route"),
        pytest.param([Route(BLOCK, gateway=IPv4Address("172.30.0.3"))], [], id="route to the block"),
        pytest.param([Route(BLOCK, kind="blackhole")], ["10.244.1.2"], id="a blackhole leads nowhere"),
        pytest.param([Route(IPv4Network("10.244.2.0/26"))], ["10.244.1.2"], id="another block"),
    ],
)
def test_uncovered(routes: list[Route], missing: list[str]) -> None:
    assert uncovered({POD}, routes) == [IPv4Address(pod) for pod in missing]


class Attempts:
    """Probes that succeed with their n-th attempt, or never."""

    def __init__(self, *needed: int | None) -> None:
        self._needed: dict[Probe, int | None] = dict(zip(PROBES, needed, strict=True))
        self.made: list[Probe] = []

    def __call__(self, topology: Topology, probe: Probe) -> str:
        self.made.append(probe)
        time.sleep(0.001)
        needed = self._needed[probe]
        return "" if needed is not None and self.made.count(probe) >= needed else "refused"


def test_what_has_succeeded_is_not_asked_for_again() -> None:
    attempts = Attempts(1, 3, 2, 1)

    await_probes(TOPOLOGY, PROBES, 60, attempts)

    assert [attempts.made.count(probe) for probe in PROBES] == [1, 3, 2, 1]


def test_an_end_within_a_pass() -> None:
    """Of ten thousand that fail, each after a second, not all have to before somebody is told."""
    attempts = Attempts(None, None, None, None)

    with pytest.raises(NodeplaneError, match=r"^not in service after 0 s: node n0: refused \(and 3 more\)$"):
        await_probes(TOPOLOGY, PROBES, 0, attempts)

    assert len(attempts.made) == 1


@pytest.mark.parametrize(
    ("refusals", "is_said"), [pytest.param([7, 7], False, id="free"), pytest.param([7, 9], True, id="full")]
)
def test_a_full_neighbour_table(refusals: list[int], is_said: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "read_refusals", lambda: refusals.pop(0))

    with pytest.raises(NodeplaneError) as caught:
        await_probes(TOPOLOGY, PROBES, 0, Attempts(None, None, None, None))

    assert ("neighbour table was full" in str(caught.value)) == is_said
