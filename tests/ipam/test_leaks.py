"""Allocations whose pod is gone."""

import os
from pathlib import Path

import msgspec
import pytest

from ipam.leaks import Here, Leak, find_leaks, netns_exists
from ipam.model import Allocation
from tests.ipam.values import allocation

# Of node n1, in /run/netns/p1.
HELD = allocation(1, "10.0.0.64")
HERE = Here("n1", "now", "m")
GONE = "its network namespace /run/netns/p1 is gone"


def held(**fields: object) -> Allocation:
    return msgspec.structs.replace(HELD, **fields)


@pytest.mark.parametrize(
    ("item", "exists", "nodes", "expected"),
    [
        pytest.param(HELD, False, None, (GONE, False), id="gone"),
        pytest.param(HELD, True, None, None, id="alive"),
        pytest.param(held(boot_id="now"), False, None, (GONE, False), id="gone in this boot"),
        pytest.param(
            held(boot_id="before", machine_id="m"), False, None, (GONE, True), id="of an earlier boot"
        ),
        pytest.param(
            held(boot_id="before", machine_id="m"), True, None, None, id="of an earlier boot, yet there"
        ),
        pytest.param(held(node="n2"), False, None, None, id="another node's"),
        pytest.param(held(netns=""), False, None, None, id="nothing known"),
        pytest.param(held(use="tunnel"), False, None, None, id="a node's own"),
        pytest.param(held(node="n2"), True, {"n1", "n2"}, None, id="on a node that is there"),
        pytest.param(held(node="n2"), True, {"n1"}, ("its node n2 is gone", False), id="on no node"),
        pytest.param(
            held(node="n2", use="tunnel"), True, {"n1"}, ("its node n2 is gone", False), id="no node's own"
        ),
        pytest.param(HELD, True, {"n2"}, None, id="we are here, whatever the cluster says"),
    ],
)
def test_find_leaks(
    item: Allocation, exists: bool, nodes: set[str] | None, expected: tuple[str, bool] | None
) -> None:
    found = find_leaks([item], HERE, lambda _: exists, nodes=nodes)

    assert found == ([] if expected is None else [Leak(item, *expected)])


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
