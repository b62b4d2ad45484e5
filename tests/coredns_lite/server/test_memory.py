"""What reading a snapshot leaves behind."""

import gc
import weakref

from coredns_lite.server.memory import settle


def test_settle() -> None:
    """What is there is out of the collector's way, what comes later is not."""
    try:
        settle()
        assert gc.get_freeze_count()
        later: list[object] = []
        later.append(later)
        assert gc.is_tracked(later)
        assert any(found is later for found in gc.get_objects())
    finally:
        gc.unfreeze()


class Cycle:
    """What keeps itself alive until the collector looks."""

    def __init__(self) -> None:
        self.itself = self


def test_settle_anew() -> None:
    """What was taken for lasting and is gone is given back; without `anew` it never would be."""
    try:
        cycle = Cycle()
        ref = weakref.ref(cycle)
        settle()
        del cycle
        settle()
        assert ref() is not None
        settle(anew=True)
        assert ref() is None
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()
