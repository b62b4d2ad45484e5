"""Which version of nodeplane this is, and what it runs on."""

import platform
from importlib.metadata import version

NODEPLANE_VERSION = version("nodeplane")


def build_labels() -> dict[str, str]:
    """Return what tells one build from another, as labels of a metric."""
    return {
        "version": NODEPLANE_VERSION,
        "python_version": platform.python_version(),
        "platform": f"linux/{platform.machine()}",
    }
