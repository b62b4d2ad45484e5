"""When the proxy is healthy: named states over time."""

import pytest

from kubeproxy.health.proxy_health import FamilyHealth, Health, ProxyHealth

LIMIT_S = 60.0
Step = tuple[str, float]


@pytest.mark.parametrize(
    ("steps", "now_s", "is_live", "updated_s"),
    [
        pytest.param([], 1e6, True, None, id="nothing asked for yet"),
        pytest.param([("queued", 100)], 160, True, None, id="first one waits"),
        pytest.param([("queued", 100)], 160.1, False, None, id="first one waits too long"),
        pytest.param([("queued", 100), ("updated", 101)], 1e6, True, 101, id="done, and quiet since"),
        pytest.param([("queued", 100), ("updated", 200)], 200, True, 200, id="late, but done"),
        pytest.param(
            [("queued", 100), ("updated", 101), ("queued", 200)], 260, True, 101, id="next one waits"
        ),
        pytest.param(
            [("queued", 100), ("updated", 101), ("queued", 200)], 261, False, 101, id="waits too long"
        ),
        pytest.param(
            [("queued", 100), ("queued", 150)], 161, False, None, id="the oldest one counts"
        ),
    ],
)  # fmt: skip
def test_health(steps: list[Step], now_s: float, is_live: bool, updated_s: float | None) -> None:
    """Only what waits makes it ill, not that nothing happens."""
    health = ProxyHealth(("ip", "ip6"), LIMIT_S)
    for verb, at_s in steps:
        getattr(health, verb)(at_s)
    family = FamilyHealth(is_live, updated_s)

    found = health.check(now_s)

    assert found == Health(True, {"ip": family, "ip6": family})
    assert (found.is_live, found.updated_s) == (is_live, updated_s)


def test_one_family_behind() -> None:
    """The proxy is as old as the family that is behind."""
    families = {"ip": FamilyHealth(True, 7.0), "ip6": FamilyHealth(False, 5.0)}

    health = Health(True, families)  # type: ignore[arg-type]  # a literal of families

    assert (health.is_live, health.updated_s) == (False, 5.0)
