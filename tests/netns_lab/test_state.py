"""The lab's directory: whole files, and one command at a time."""

import fcntl
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from netns_lab.state import StateDirectory, read_record, saved_labs, write_file
from nodeplane.reconcile.delta import Delta
from tests.netns_fixture import eventually
from tests.netns_lab.samples import TOPOLOGY, service


class Fact(msgspec.Struct, frozen=True):
    """A record."""

    value: int


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    """Return the directory of a lab that is not there yet."""
    return StateDirectory("lab", tmp_path / "labs")


def test_topology_is_kept(state: StateDirectory) -> None:
    before = state.load_topology()
    state.save_topology(TOPOLOGY)

    assert (before, state.load_topology()) == (None, TOPOLOGY)


def test_manifests_are_kept(state: StateDirectory) -> None:
    before = state.load_manifests()
    state.save_manifests([service()])

    assert (before, state.load_manifests()) == ([], [service()])


def test_records(state: StateDirectory) -> None:
    state.save_record("programs/nodes/n1/kubeproxy", Fact(1))
    state.save_record("programs/pods/default/web-1", Fact(2))
    state.save_record("attachments/default/web-1", Fact(3))
    state.drop_record("programs/pods/default/web-1")
    state.drop_record("programs/never/was")

    assert state.records("programs") == {"programs/nodes/n1/kubeproxy"}
    assert state.load_record("attachments/default/web-1", Fact) == Fact(3)
    assert state.load_record("programs/pods/default/web-1", Fact) is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"value": "text"}', b"\xff"], ids=repr)
def test_a_record_that_is_none_counts_as_none(content: bytes, tmp_path: Path) -> None:
    write_file(tmp_path / "fact.json", content)

    assert read_record(tmp_path / "fact.json", Fact) is None


def test_sync_files(state: StateDirectory) -> None:
    """Folders that hold no file any more go, too."""
    first = state.sync_files("config", {"a": b"1", "sub/x/b": b"2"})
    second = state.sync_files("config", {"a": b"1", "sub/x/b": b"3", "kept/c": b"4"})
    third = state.sync_files("config", {"kept/c": b"4"})

    assert first == Delta({"a": b"1", "sub/x/b": b"2"}, frozenset())
    assert second == Delta({"sub/x/b": b"3", "kept/c": b"4"}, frozenset())
    assert third == Delta({}, frozenset({"a", "sub/x/b"}))
    assert sorted(path.name for path in (state.path / "config").rglob("*")) == ["c", "kept"]


def test_sync_files_cleans_up_after_a_killed_write(state: StateDirectory) -> None:
    write_file(state.path / "config" / ".Corefile.new", b"half")

    state.sync_files("config", {"Corefile": b"{}"})

    assert [path.name for path in (state.path / "config").iterdir()] == ["Corefile"]


def test_a_private_file_is_never_anybody_else_s_to_read(state: StateDirectory) -> None:
    """Not even where a killed write has left one that is."""
    path = state.path / "kubeconfig"
    write_file(path.with_name(".kubeconfig.new"), b"half")

    write_file(path, b"token", mode=0o600)

    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"token", 0o600)


def test_remove_leaves_nothing(state: StateDirectory) -> None:
    other = StateDirectory("other", state.path.parent)
    with state.locked(), other.locked():
        state.sync_files("config", {"a": b""})
        state.remove()
        labs = saved_labs(state.path.parent)
        other.remove()

    assert labs == {"other"}
    assert not state.path.parent.exists()
    assert saved_labs(state.path.parent) == set()


def test_a_lab_of_nothing_but_its_lock_is_none(state: StateDirectory) -> None:
    """Whoever has waited for a `down` and finds nothing leaves nothing."""
    with state.locked(), state.locked():
        assert saved_labs(state.path.parent) == {"lab"}

    assert not state.path.parent.exists()


def test_who_holds_the_lock_may_enter_again(state: StateDirectory) -> None:
    """And holds it until the outermost hold ends."""
    other = StateDirectory("lab", state.path.parent)
    with state.locked():
        with state.locked():
            pass
        with (state.path / "lock").open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with other.locked():
        pass


_HOLDER = """
import sys, pathlib
from netns_lab.state import StateDirectory
state = StateDirectory("lab", pathlib.Path(sys.argv[1]))
print("waiting", flush=True)
with state.locked():
    print("locked", flush=True)
    command = sys.stdin.readline()
    if command == "remove\\n":
        state.remove()
"""


def holder(state: StateDirectory) -> "subprocess.Popen[str]":
    """Start another command that takes the lab's lock and holds it until it is told to end."""
    return subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(state.path.parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("ending", ["", "remove", "kill"])
def test_second_command_waits_for_the_first(state: StateDirectory, ending: str) -> None:
    """The lock passes on when its holder ends, is killed, or has removed the directory and the lock."""
    with holder(state) as first:
        said = [first.stdout.readline(), first.stdout.readline()] if first.stdout else []
        assert said == ["waiting\n", "locked\n"]
        with holder(state) as second:
            assert second.stdout is not None
            assert second.stdout.readline() == "waiting\n"
            eventually(lambda: waits_for_lock(second.pid), bool)
            if ending == "kill":
                first.kill()
                first.communicate()
            else:
                first.communicate(f"{ending}\n")

            assert second.stdout.readline() == "locked\n"
            assert (state.path / "lock").exists()
            second.communicate("\n")


def waits_for_lock(pid: int) -> bool:
    """Say whether a process waits for a file lock: proc(5) marks waiters with an arrow."""
    lines = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and line.split()[5] == str(pid) for line in lines)
