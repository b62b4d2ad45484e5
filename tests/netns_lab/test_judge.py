"""The demo's verdict: every way in which a demonstration can be wrong is seen."""

import msgspec
import pytest

from netns_lab.capture import Packet
from netns_lab.judge import Evidence, Share, judge, tolerance

BEFORE = Packet("10.0.0.1", 4000, "10.96.0.80", 80, "S", 77)
AFTER = Packet("10.0.0.1", 4000, "10.0.1.2", 8080, "S", 77)
SHARES = (
    Share("default/a", "n1", "10.0.1.1", 8080, 45),
    Share("default/b", "n2", "10.0.1.2", 8080, 55),
)
GOOD = Evidence(
    name="web.default.svc.cluster.local",
    answers=("10.96.0.80",),
    cluster_ip="10.96.0.80",
    port=80,
    connections=100,
    errors=(),
    strangers=(),
    shares=SHARES,
    before=BEFORE,
    after=AFTER,
)

NAME = "web.default.svc.cluster.local is 10.96.0.80"
CONNECTIONS = "every connection was answered by a backend"
SHARE_A = "default/a got 50 ± 25.0 connections"
BEFORE_CLAIM = "the client's link shows 10.96.0.80:80"
AFTER_CLAIM = "behind it the same packet goes to a backend's own address"


def replace(packet: Packet, **changes: object) -> Packet:
    """Return a packet with other fields."""
    return msgspec.structs.replace(packet, **changes)


def with_first_share(connections: int) -> tuple[Share, ...]:
    """Return the shares with another count for the first backend."""
    return (msgspec.structs.replace(SHARES[0], connections=connections), SHARES[1])


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        pytest.param({}, {}, id="good"),
        pytest.param({"answers": ()}, {NAME: "no answer"}, id="no answer"),
        pytest.param({"answers": ("10.96.0.81",)}, {NAME: "10.96.0.81"}, id="another address"),
        pytest.param(
            {"answers": ("10.96.0.80", "10.96.0.81")},
            {NAME: "10.96.0.80, 10.96.0.81"},
            id="one address too many",
        ),
        pytest.param(
            {"errors": ("timed out",)}, {CONNECTIONS: "99 of 100; timed out"}, id="one lost connection"
        ),
        pytest.param(
            {"strangers": ("default/z",)}, {CONNECTIONS: "99 of 100; answered by default/z"}, id="a stranger"
        ),
        pytest.param({"shares": with_first_share(75)}, {}, id="share at the margin"),
        pytest.param({"shares": with_first_share(76)}, {SHARE_A: "76"}, id="share above the margin"),
        pytest.param({"shares": with_first_share(24)}, {SHARE_A: "24"}, id="share below the margin"),
        pytest.param(
            {"before": None}, {BEFORE_CLAIM: "no packet", AFTER_CLAIM: str(AFTER)}, id="no packet before"
        ),
        pytest.param({"after": None}, {AFTER_CLAIM: "no packet"}, id="no packet behind"),
        pytest.param({"after": BEFORE}, {AFTER_CLAIM: str(BEFORE)}, id="not translated"),
        pytest.param(
            {"before": AFTER}, {BEFORE_CLAIM: str(AFTER)}, id="translated before it reached the client's link"
        ),
        pytest.param(
            {"after": replace(AFTER, destination="10.0.9.9")},
            {AFTER_CLAIM: str(replace(AFTER, destination="10.0.9.9"))},
            id="translated to no backend",
        ),
        pytest.param(
            {"after": replace(AFTER, source="172.30.0.2")},
            {AFTER_CLAIM: str(replace(AFTER, source="172.30.0.2"))},
            id="source translated too",
        ),
        pytest.param(
            {"after": replace(AFTER, sequence=78)},
            {AFTER_CLAIM: str(replace(AFTER, sequence=78))},
            id="another packet",
        ),
        pytest.param(
            {"answers": (), "connections": 0, "shares": (), "before": None, "after": None},
            {
                NAME: "no answer",
                CONNECTIONS: "0 of 0",
                "the service has backends": "none",
                BEFORE_CLAIM: "no packet",
                AFTER_CLAIM: "no packet",
            },
            id="nothing at all",
        ),
    ],
)
def test_judge(changes: dict[str, object], failed: dict[str, str]) -> None:
    checks = judge(msgspec.structs.replace(GOOD, **changes))

    assert {check.claim: check.seen for check in checks if not check.held} == failed


@pytest.mark.parametrize(
    ("connections", "backends", "margin"),
    [
        pytest.param(100, 4, 5 * (100 * 0.25 * 0.75) ** 0.5, id="four backends"),
        pytest.param(100, 1, 0.0, id="one backend takes all"),
        pytest.param(0, 4, 0.0, id="no connections"),
    ],
)
def test_tolerance(connections: int, backends: int, margin: float) -> None:
    assert tolerance(connections, backends) == pytest.approx(margin)
