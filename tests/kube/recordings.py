"""What a real API server said: recordings that lie beside the checkout, here and in CI."""

import json
from pathlib import Path
from typing import Any

RECORDINGS = Path(__file__).parents[3] / "shared/recordings/kubernetes-1.36"


def recording(name: str) -> str:
    """Return the text of one recording; fail, do not skip, when there is none."""
    assert RECORDINGS.is_dir(), f"expected recordings in {RECORDINGS}"
    return (RECORDINGS / name).read_text()


def recorded_items(name: str) -> list[dict[str, Any]]:
    """Return the objects of a recorded list, as the server wrote them."""
    items: list[dict[str, Any]] = json.loads(recording(name))["items"]
    return items
