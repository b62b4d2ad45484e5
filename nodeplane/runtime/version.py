"""Which version of nodeplane this is, and what it runs on."""

import platform

# Also in pyproject.toml. Not asked of what is installed: importlib.metadata takes 1 MB, and 9 ms of a start.
NODEPLANE_VERSION = "0.1.0"


def build_labels() -> dict[str, str]:
    """Return what tells one build from another, as labels of a metric."""
    return {
        "version": NODEPLANE_VERSION,
        "python_version": platform.python_version(),
        "platform": f"linux/{platform.machine()}",
    }
