"""Who waits for which connections, and for how long."""

import pytest

from kubeproxy.ipvs.drain import Drain
from kubeproxy.ipvs.service_delta import ServiceStep
from nodeplane.datapath.ipvs.service import RealServer, ServerUse

KEY, A, B = b"key", b"a", b"b"
IDLE = ServerUse(RealServer(0))
OPEN, CLOSING = ServerUse(RealServer(0), active=1), ServerUse(RealServer(0), inactive=1)


def step(draining: bytes = b"", kept: bytes = b"", *, is_wanted: bool = True) -> ServiceStep:
    return ServiceStep((), None, one_each(draining), one_each(kept), is_wanted=is_wanted)


def one_each(names: bytes) -> frozenset[bytes]:
    return frozenset(bytes((byte,)) for byte in names)


@pytest.mark.parametrize(
    ("steps", "uses", "now_s", "ended"),
    [
        pytest.param([step(b"a")], {A: IDLE}, 0, [A], id="no connection: at once"),
        pytest.param([step(b"a")], {}, 0, [A], id="gone already"),
        pytest.param([step(b"a")], {A: OPEN}, 0, [], id="a connection"),
        pytest.param([step(b"a")], {A: CLOSING}, 0, [], id="one that is half closed"),
        pytest.param([step(b"a")], {A: OPEN}, 899, [], id="before its time"),
        pytest.param([step(b"a")], {A: OPEN}, 900, [A], id="its time is up"),
        pytest.param([step(kept=b"a")], {A: OPEN}, 10**6, [], id="one that serves has all the time"),
        pytest.param([step(kept=b"a")], {A: IDLE}, 0, [A], id="until it is idle"),
        pytest.param([step(b"a"), step(b"ab")], {A: OPEN, B: OPEN}, 900, [A], id="each has its own time"),
        pytest.param([step(kept=b"a"), step(b"a")], {A: OPEN}, 900, [], id="its time begins later"),
    ],
)
def test_end(
    steps: list[ServiceStep], uses: dict[bytes, ServerUse], now_s: float, ended: list[bytes]
) -> None:
    """Steps come at 0 s, 1 s…"""
    drain = Drain()
    for second, each in enumerate(steps):
        drain.follow(KEY, each, second)

    assert sorted(drain.end(KEY, uses, now_s)) == ended


def test_one_that_is_wanted_again_waits_no_longer() -> None:
    drain = Drain()
    drain.follow(KEY, step(b"a"), 0)
    drain.follow(KEY, step(), 1)

    assert [*drain] == []


def test_a_service_that_nobody_wants_is_over_with_its_last_server() -> None:
    drain = Drain()
    drain.follow(KEY, step(b"ab", is_wanted=False), 0)
    drain.end(KEY, {A: OPEN}, 1)
    before = drain.is_over(KEY)
    drain.end(KEY, {}, 2)

    assert (before, drain.is_over(KEY), len(drain)) == (False, True, 0)
