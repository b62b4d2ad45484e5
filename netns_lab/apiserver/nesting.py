"""How deep a body, and an object that patches add up to, may be nested."""

from typing import Any

from netns_lab.apiserver.status import StatusError, bad_request

# The deepest of real objects, CRDs, come to about 50. Merging and copying take Python frames, of 1000.
MAX_DEPTH = 128


def check_depth(value: Any) -> None:
    """Refuse a value that is nested too deep for what is done with it.

    Raises:
        StatusError: 400.
    """
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        level = [
            entry
            for parent in level
            for entry in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(entry, dict | list)
        ]
        if not level:
            return
    raise too_deep()


def too_deep() -> StatusError:
    """Return the refusal."""
    return bad_request(
        f"the body of the request could not be read: expected at most {MAX_DEPTH} levels of nesting"
    )
