"""Batches, checked against what a `Source` promises and applied to a plain state."""

from nodeplane.kube.objects import Object, ObjectKey
from nodeplane.kube.source import Batch


def apply(state: dict[ObjectKey, Object], batch: Batch) -> None:
    """Bring a state up to date with a batch; fail if the batch breaks a promise."""
    keys = [change.key for change in batch]
    assert len(set(keys)) == len(keys), f"expected each object once in {batch}"
    for change in batch:
        assert change.old == state.get(change.key), f"expected the last state as old in {change}"
        assert change.new != change.old, f"expected a difference in {change}"
        if change.new is None:
            del state[change.key]
        else:
            assert change.new.key == change.key
            state[change.key] = change.new
