"""Did the demonstration show what it claims? A pure verdict over what was observed."""

from collections.abc import Iterator
from math import sqrt

import msgspec

from netns_lab.capture import Packet

# 100 connections over 4 backends are off by chance once in 156,000 demos; with 4 it was once in 3,700.
_DEVIATIONS = 5


class Share(msgspec.Struct, frozen=True):
    """A backend of the service, and how many connections it answered."""

    pod: str
    node: str
    address: str
    port: int
    connections: int = 0


class Evidence(msgspec.Struct, frozen=True):
    """What was observed: the name's answer, the connections' outcomes, one connection's packets.

    `strangers` are the pods, one for each such connection, that answered without being backends. `before` was
    seen on the client's link, `after` on the uplink of the backend's node; None if it was not.
    """

    name: str
    answers: tuple[str, ...]
    cluster_ip: str
    port: int
    connections: int
    errors: tuple[str, ...]
    strangers: tuple[str, ...]
    shares: tuple[Share, ...]
    before: Packet | None
    after: Packet | None


class Check(msgspec.Struct, frozen=True):
    """One claim, whether it held, and what was seen."""

    claim: str
    held: bool
    seen: str


def judge(evidence: Evidence) -> tuple[Check, ...]:
    """Say of each claim of the demonstration whether it held."""
    return (_name(evidence), _connections(evidence), *_shares(evidence), _before(evidence), _after(evidence))


def tolerance(connections: int, backends: int) -> float:
    """Return how far a backend's count may be from the even share: 5 standard deviations (binomial)."""
    probability = 1 / backends
    return _DEVIATIONS * sqrt(connections * probability * (1 - probability))


def _name(evidence: Evidence) -> Check:
    claim = f"{evidence.name} is {evidence.cluster_ip}"
    return Check(
        claim, evidence.answers == (evidence.cluster_ip,), ", ".join(evidence.answers) or "no answer"
    )


def _connections(evidence: Evidence) -> Check:
    failed = (*evidence.errors, *(f"answered by {name}" for name in evidence.strangers))
    answered = evidence.connections - len(failed)
    seen = f"{answered} of {evidence.connections}" + (f"; {failed[0]}" if failed else "")
    return Check("every connection was answered by a backend", evidence.connections > 0 and not failed, seen)


def _shares(evidence: Evidence) -> Iterator[Check]:
    if not evidence.shares:
        yield Check("the service has backends", held=False, seen="none")
    for share in evidence.shares:
        even = evidence.connections / len(evidence.shares)
        margin = tolerance(evidence.connections, len(evidence.shares))
        claim = f"{share.pod} got {even:g} ± {margin:.1f} connections"
        yield Check(claim, abs(share.connections - even) <= margin, str(share.connections))


def _before(evidence: Evidence) -> Check:
    packet = evidence.before
    held = packet is not None and (packet.destination, packet.destination_port) == (
        evidence.cluster_ip,
        evidence.port,
    )
    claim = f"the client's link shows {evidence.cluster_ip}:{evidence.port}"
    return Check(claim, held, str(packet) if packet else "no packet")


def _after(evidence: Evidence) -> Check:
    before, after = evidence.before, evidence.after
    backends = {(share.address, share.port) for share in evidence.shares}
    held = (
        before is not None
        and after is not None
        and (after.destination, after.destination_port) in backends
        and (after.source, after.source_port, after.sequence)
        == (before.source, before.source_port, before.sequence)
    )
    claim = "behind it the same packet goes to a backend's own address"
    return Check(claim, held, str(after) if after else "no packet")
