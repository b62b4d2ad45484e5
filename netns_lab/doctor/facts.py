"""The facts about this machine: read and tried out, in a namespace that is gone afterwards."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from netns_lab.doctor.findings import Facts
from netns_lab.doctor.needs import FEATURES, MODULES, NEEDS, Feature
from netns_lab.neighbour_table import read_limit
from netns_lab.presence import labs
from netns_lab.state import StateDirectory
from netns_lab.status import read_status
from nodeplane.datapath import netns
from nodeplane.errors import NodeplaneError, missing_right, own_rights

_TRY_LIMIT_S = 30.0


def read_facts() -> Facts:
    """Read and try all that is looked for."""
    lacks = missing_right(*own_rights())
    return Facts(
        lacks,
        {need.tool.program for need in NEEDS if shutil.which(need.tool.program) is not None},
        set() if lacks else {feature.name for feature in FEATURES if _works(feature)},
        {name for name in MODULES if find_spec(name) is not None},
        {} if lacks else {lab: state_of(StateDirectory(lab)) for lab in labs()},
        read_limit(4),
    )


def _works(feature: Feature) -> bool:
    try:
        with _trial_namespace() as name, netns.inside(netns.NETNS_DIR / name):
            done = subprocess.run(feature.command, capture_output=True, timeout=_TRY_LIMIT_S, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@contextmanager
def _trial_namespace() -> Iterator[str]:
    # No lab's name: `netns-lab down --all` beside it must not take it for one.
    name = f"netns-lab-doctor-{os.getpid()}"
    netns.create(name)
    try:
        yield name
    finally:
        netns.remove(name)


def state_of(state: StateDirectory) -> str | None:
    """Return what `status` says of a lab, `busy` while a command works on it, None if it has no files."""
    if not state.exists():
        return None
    if _is_busy(state):
        return "busy"
    try:
        return str(read_status(state)["state"])
    except NodeplaneError:
        return "broken"


def _is_busy(state: StateDirectory) -> bool:
    """Say whether a command works on a lab just now: it holds the lab's lock."""
    try:
        with (state.path / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
