"""Directories that bird, which is not root, finds its way into."""

from pathlib import Path

import pytest


@pytest.fixture
def tmp_path(open_path: Path) -> Path:
    """Return a directory that all may enter, in place of pytest's own."""
    return open_path
