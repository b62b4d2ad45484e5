"""Which processes count as a lab's."""

import os
import secrets
from pathlib import Path

import pytest

from netns_lab import processes
from netns_lab.presence import homes
from netns_lab.processes import machine_namespaces, namespace_id
from netns_lab.wiring import Namespace
from netns_lab.wiring_kernel import read_wiring
from nodeplane.datapath import netns

pytestmark = pytest.mark.netns


def test_the_machines_own_namespace_is_no_labs_home() -> None:
    """A name of a lab's may lead to it (`ip netns attach`); `down` must not end every process then."""
    lab = f"t{os.getpid():x}{secrets.token_hex(3)}"
    path = netns.create(f"nl-{lab}-n1")
    wanted = [Namespace(path.name)]
    try:
        outside = homes(lab), list(read_wiring(lab, wanted))
        with netns.inside(path):
            inside = homes(lab), list(read_wiring(lab, wanted))
        assert outside == ({namespace_id(path)}, wanted)
    finally:
        netns.remove(path.name)

    assert inside == (set(), [])


@pytest.mark.parametrize(
    "readable", [("thread-self", "1"), ("thread-self",)], ids=["all", "process 1 is not ours to look at"]
)
def test_machine_namespaces(
    readable: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / name / "ns" / "net" for name in readable]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.touch()
    monkeypatch.setattr(processes, "_PROC", tmp_path)

    assert machine_namespaces() == {namespace_id(path) for path in paths}
