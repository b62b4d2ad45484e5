"""Pauses after failures."""

import pytest

from nodeplane.kube.backoff import Backoff


def test_pauses_double_up_to_a_limit() -> None:
    """Each pause is between a half and the whole of a step that doubles."""
    backoff = Backoff(1, 8)
    pauses = [backoff.pause_s() for _ in range(6)]
    backoff.reset()
    pauses.append(backoff.pause_s())

    assert all(step / 2 <= pause <= step for pause, step in zip(pauses, [1, 2, 4, 8, 8, 8, 1], strict=True))


@pytest.mark.parametrize(
    ("asked_s", "low_s", "high_s"),
    [
        pytest.param(None, 0.5, 1, id="nothing asked"),
        pytest.param(0.0, 0.5, 1, id="at once"),
        pytest.param(7.0, 7, 7, id="later"),
        pytest.param(86400.0, 120, 120, id="tomorrow"),
    ],
)
def test_what_the_server_asks_for(asked_s: float | None, low_s: float, high_s: float) -> None:
    """Retry-After is kept, within reason."""
    assert low_s <= Backoff(1, 8).pause_s(asked_s) <= high_s
