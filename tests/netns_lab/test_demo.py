"""Whose lab the demo may take."""

import os
import secrets
from pathlib import Path

import pytest

from netns_lab.demo import check_free, demo_spec
from netns_lab.state import StateDirectory
from netns_lab.topology import Topology
from nodeplane.errors import ConfigError
from tests.netns_lab.samples import TOPOLOGY

LAB = f"t{os.getpid():x}{secrets.token_hex(3)}"


@pytest.mark.parametrize(
    "saved", [pytest.param(None, id="none"), pytest.param(demo_spec(LAB).topology, id="the demo's own, kept")]
)
def test_free(saved: Topology | None, tmp_path: Path) -> None:
    state = StateDirectory(LAB, tmp_path)
    if saved is not None:
        state.save_topology(saved)

    check_free(state)


def test_a_users_own_lab_is_refused(tmp_path: Path) -> None:
    state = StateDirectory(LAB, tmp_path)
    state.save_topology(TOPOLOGY)

    with pytest.raises(ConfigError) as caught:
        check_free(state)

    words = "expected no lab of this name, there is one and not the demo's: take another --lab"
    assert str(caught.value) == f"{LAB}: {words}"
