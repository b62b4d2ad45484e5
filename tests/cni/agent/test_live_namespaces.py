"""Namespaces that have a name or a process."""

import os
from pathlib import Path

import pytest

from cni.agent.live_namespaces import read_live
from tests.netns_fixture import namespace

MOUNTINFO = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
90 22 0:4 net:[4026532001] /run/netns/a rw shared:5 - nsfs nsfs rw
91 22 0:4 net:[4026532002] /run/with\\040space rw shared:6 - nsfs nsfs rw
92 22 0:4 mnt:[4026532009] /run/mnt rw shared:7 - nsfs nsfs rw
93 22 0:4 net:[4026532001] /run/again rw shared:8 - nsfs nsfs rw

"""


def test_read(tmp_path: Path) -> None:
    """Each once, a mounted one by its name; a process that ends is no error."""
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text(MOUNTINFO)
    for pid, identity in (("1", "4026531840"), ("2", "4026532001"), ("3", "4026531840")):
        (tmp_path / pid / "ns").mkdir(parents=True)
        os.symlink(f"net:[{identity}]", tmp_path / pid / "ns/net")
    (tmp_path / "4").mkdir()
    (tmp_path / "uptime").touch()

    paths = list(read_live(tmp_path))

    assert paths[:2] == [Path("/run/netns/a"), Path("/run/with space")]
    assert len(paths) == 3
    assert paths[2] in {tmp_path / "1/ns/net", tmp_path / "3/ns/net"}


@pytest.mark.netns
def test_the_kernels_own() -> None:
    with namespace("live") as path:
        assert path in set(read_live())
    assert path not in set(read_live())
