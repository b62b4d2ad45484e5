"""Allocations whose pod is gone."""

import os
from pathlib import Path

import msgspec
import pytest

from ipam.leaks import find_leaks, netns_exists
from ipam.model import Allocation
from tests.ipam.values import allocation

# Of node n1, from second 1000, in /run/netns/p1.
HELD = allocation(1, "10.0.0.64")


@pytest.mark.parametrize(
    ("held", "before_s", "exists", "expected"),
    [
        pytest.param(HELD, 1000, False, True, id="gone"),
        pytest.param(HELD, 2000, True, False, id="alive"),
        pytest.param(HELD, 999, False, False, id="too new"),
        pytest.param(msgspec.structs.replace(HELD, node="n2"), 2000, False, False, id="another node's"),
        pytest.param(msgspec.structs.replace(HELD, netns=""), 2000, False, False, id="nothing known"),
    ],
)
def test_find_leaks(held: Allocation, before_s: int, exists: bool, expected: bool) -> None:
    assert find_leaks([held], "n1", before_s, lambda _: exists) == ([held] if expected else [])


def test_netns_exists(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    rows = {
        str(tmp_path / "file"): True,
        f"/proc/{os.getpid()}/ns/net": True,
        str(tmp_path / "none"): False,
        str(tmp_path / "file" / "under"): False,
        f"/proc/{pid}/ns/net": False,
        # Can't be told (ELOOP), so it is not taken for gone.
        str(loop): True,
    }

    assert {path: netns_exists(path) for path in rows} == rows
