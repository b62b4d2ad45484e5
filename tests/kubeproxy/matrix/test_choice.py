"""Which of several endpoints a client gets: affinity, hashes, weights; by the walker and by packets."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import pytest

from tests.kubeproxy.matrix.asking import Protocol
from tests.kubeproxy.matrix.expected import Answer, foretold
from tests.kubeproxy.matrix.lab import WITH_LARGE, Lab, names
from tests.kubeproxy.matrix.shapes import SHAPES
from tests.kubeproxy.matrix.topology import address_of
from tests.netns_fixture import eventually

pytestmark = [pytest.mark.netns, pytest.mark.parametrize("version", [4, 6])]

_AGAIN = 8
_MANY = 200


class Asker:
    """One client at one door of one Service."""

    def __init__(  # noqa: PLR0917  # in the order of a row
        self,
        lab: Lab,
        shape: str,
        door: str,
        client: str,
        protocol: Protocol,
        version: int,
        *,
        is_fresh: bool = True,
    ) -> None:
        self._lab = lab
        self._is_fresh = is_fresh
        self._client, self._protocol, self._version = client, protocol, version
        self._host, self._port = lab.door(shape, door, version)

    def foretold(self, *, source_port: int | None = None) -> frozenset[Answer]:
        """Return what the walker says now."""
        told = self._lab.predict(
            self._client,
            self._protocol,
            self._host,
            self._port,
            self._version,
            source_port=source_port,
            is_fresh=self._is_fresh,
        )
        said = foretold(told, self._version)
        assert isinstance(said, frozenset)
        return said

    def chances(self) -> dict[str, Fraction]:
        """Return how likely each endpoint is."""
        told = self._lab.predict(
            self._client, self._protocol, self._host, self._port, self._version, is_fresh=True
        )
        known = names(self._version)
        return {known[str(outcome.address)]: outcome.probability for outcome in told.outcomes}

    def answer(self, *, source_port: int = 0) -> Answer:
        """Open a connection."""
        told = self._lab.ask(
            self._client, self._protocol, self._host, self._port, self._version, source_port=source_port
        )
        assert isinstance(told.answer, tuple), told
        return told.answer


@contextmanager
def endpoints(lab: Lab, shape: str, words: str) -> Iterator[None]:
    """Let a Service have other endpoints for a while."""
    lab.change(shape, words)
    try:
        yield
    finally:
        lab.change(shape, SHAPES[shape].endpoints)


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
@pytest.mark.parametrize(
    ("door", "client", "first"),
    [
        pytest.param("cluster", "pod", {"pod", "mate", "away"}, id="pod, cluster IP"),
        pytest.param("cluster", "client", {"pod", "mate", "away"}, id="client, cluster IP"),
        pytest.param("lb", "node", {"pod", "mate", "away"}, id="node, load balancer"),
        pytest.param("wan", "other", {"pod", "mate", "away"}, id="other, node port"),
    ],
)
def test_affinity(
    lab: Lab, *, door: str, client: str, first: set[str], protocol: Protocol, version: int
) -> None:
    """A client that is new may get any endpoint; then it gets that one again, and the walker knows."""
    lab.enter("no-detector")
    asker = Asker(lab, "sticky", door, client, protocol, version)
    before = asker.foretold()
    answer = asker.answer()

    assert {name for name, _ in before} == first
    assert answer in before
    assert asker.foretold() == {answer}
    assert {asker.answer() for _ in range(_AGAIN)} == {answer}
    # The next row begins anew: a round of removal makes the kernel forget.
    with endpoints(lab, "sticky", "other"):
        assert asker.answer()[0] == "other"


def test_affinity_is_shared_by_frontends(lab: Lab, version: int) -> None:
    """The endpoint that a client has got at the cluster IP it gets at all other doors, by whatever way."""
    lab.enter("cluster-cidr")
    doors = ("cluster", "external", "lb", "wan", "lan")
    askers = [Asker(lab, "sticky", door, "client", "tcp", version) for door in doors]
    name, _ = askers[0].answer()

    assert {found for asker in askers for found, _ in asker.foretold()} == {name}
    assert {asker.answer()[0] for asker in askers for _ in range(_AGAIN)} == {name}


def test_affinity_is_for_each_client(lab: Lab, version: int) -> None:
    """Clients of two addresses are remembered apart; until one has come, it may get any."""
    lab.enter("node-cidr")
    first = Asker(lab, "sticky", "cluster", "mate", "tcp", version)
    answer = first.answer()

    assert first.foretold() == {answer}
    assert len(Asker(lab, "sticky", "cluster", "pod", "tcp", version).foretold()) == 3
    # Another port is another pool: the same client is new to it.
    assert len(Asker(lab, "sticky", "cluster", "mate", "udp", version).foretold()) == 3


@pytest.mark.parametrize(
    "left",
    [
        pytest.param("{other}", id="removed"),
        pytest.param("{gone}:unready {other}", id="unready"),
        pytest.param("{gone}:draining {other}", id="draining"),
    ],
)
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_affinity_ends_with_the_endpoint(lab: Lab, left: str, protocol: Protocol, version: int) -> None:
    """A client whose endpoint is of no use any more gets another one and keeps that."""
    lab.enter("bridge")
    asker = Asker(lab, "sticky-two", "cluster", "client", protocol, version)
    gone, _ = asker.answer()
    (other,) = {"mate", "away"} - {gone}
    with endpoints(lab, "sticky-two", left.format(gone=gone, other=other)):
        assert {name for name, _ in asker.foretold()} == {other}
        assert {asker.answer()[0] for _ in range(_AGAIN)} == {other}
    # Both are back: it stays where it is.
    assert {name for name, _ in asker.foretold()} == {other}
    assert {asker.answer()[0] for _ in range(_AGAIN)} == {other}


def test_affinity_ends_with_time(lab: Lab, version: int) -> None:
    """A client that has not come for a second is new."""
    lab.enter("cluster-cidr")
    asker = Asker(lab, "sticky-briefly", "cluster", "client", "tcp", version)
    asker.answer()

    # The fact is the kernel's: nothing is remembered.
    everyone = eventually(asker.foretold, lambda said: len(said) == 3)
    assert {name for name, _ in everyone} == {"pod", "mate", "away"}
    assert asker.answer() in everyone


def test_affinity_under_policy_local(lab: Lab, version: int) -> None:
    """A client from outside is remembered with one of this node's endpoints, and it sees its address."""
    lab.enter("cluster-cidr")
    asker = Asker(lab, "sticky-local", "lb", "client", "tcp", version)
    before = asker.foretold()
    answer = asker.answer()

    assert {name for name, _ in before} == {"pod", "mate"}
    assert answer in before
    assert {source for _, source in before} == {address_of("client", version)}
    assert asker.foretold() == {answer}
    assert {asker.answer() for _ in range(_AGAIN)} == {answer}


@pytest.mark.parametrize("client", ["pod", "other", "node", "client"])
@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
def test_source_hash(lab: Lab, client: str, protocol: Protocol, version: int) -> None:
    """A client's address alone decides, in every connection."""
    lab.enter(WITH_LARGE)
    asker = Asker(lab, "by-source", "cluster", client, protocol, version, is_fresh=False)
    said = asker.foretold()

    assert len(said) == 1
    assert {asker.answer() for _ in range(_AGAIN)} == said


@pytest.mark.parametrize("client", ["pod", "other", "node", "client"])
@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
def test_flow_hash(lab: Lab, client: str, protocol: Protocol, version: int) -> None:
    """A client's address and port decide: with the port the walker knows the endpoint."""
    lab.enter(WITH_LARGE)
    asker = Asker(lab, "by-flow", "cluster", client, protocol, version, is_fresh=False)
    # Ports of this test's own, a range for each row.
    rows = ("pod", "other", "node", "client").index(client) + 4 * ("tcp", "udp", "sctp").index(protocol)
    first = 50000 + 100 * (2 * rows + (version == 6))
    ports = range(first, first + 20)

    said = [asker.foretold(source_port=port) for port in ports]
    assert [{asker.answer(source_port=port)} for port in ports] == said
    assert frozenset[Answer]().union(*said) <= asker.foretold()
    assert len(asker.foretold()) == 3


@pytest.mark.parametrize(
    ("shape", "door", "client", "chances"),
    [
        pytest.param("web", "cluster", "pod", {"pod": 1, "mate": 1, "away": 1}, id="alike"),
        pytest.param("duplicate", "cluster", "pod", {"pod": 1, "away": 1}, id="in two slices"),
        pytest.param("weighted", "cluster", "pod", {"mate": 3, "away": 1}, id="weights"),
        pytest.param("weighted", "lb", "client", {"mate": 3, "away": 1}, id="weights, load balancer"),
        pytest.param("local", "lb", "client", {"pod": 1, "mate": 1}, id="policy Local"),
        pytest.param("sticky-two", "cluster", "other", {"mate": 1, "away": 1}, id="affinity, new client"),
    ],
)
def test_shares(
    lab: Lab, *, shape: str, door: str, client: str, chances: dict[str, int], version: int
) -> None:
    """Endpoints get their share of the connections, exactly by the walker and roughly by count."""
    lab.enter("no-detector")
    asker = Asker(lab, shape, door, client, "tcp", version)
    whole = sum(chances.values())

    assert asker.chances() == {name: Fraction(share, whole) for name, share in chances.items()}
    if shape.startswith("sticky"):
        return
    counts = Counter(asker.answer()[0] for _ in range(_MANY))
    assert counts.keys() == chances.keys()
    for name, share in chances.items():
        # Eight standard deviations: wrong by chance once in 10^15 times.
        chance = share / whole
        assert abs(counts[name] - _MANY * chance) < 8 * (_MANY * chance * (1 - chance)) ** 0.5
