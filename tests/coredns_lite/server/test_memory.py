"""What reading a snapshot leaves behind."""

import gc

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
