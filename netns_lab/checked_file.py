"""`netns-lab validate`: a file that people wrote, topology or scenario, checked with all that it names."""

from pathlib import Path
from typing import Any

from netns_lab.loader import read_lab
from netns_lab.scenarios.loader import read_scenario
from nodeplane.errors import ConfigError
from nodeplane.yamldoc import read_documents


def check_file(path: Path) -> dict[str, Any]:
    """Return what a file is, and what is wrong with it: one line, empty if nothing is."""
    kind, error = "topology", ""
    try:
        documents = read_documents(path)
        # A topology has nodes, a scenario has steps: a file with neither is the more common of the two.
        if documents and isinstance(documents[0].value, dict) and "steps" in documents[0].value:
            kind = "scenario"
            read_scenario(path)
        else:
            read_lab(path)
    except ConfigError as exc:
        error = str(exc)
    return {"file": str(path), "kind": kind, "error": error}
