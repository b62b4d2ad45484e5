"""What a lab keeps on disk, below /run/netns-lab/<lab>/, and the lock that holds two commands apart.

`down`, `status` and `exec` need nothing but this directory and the kernel. Every file is moved into place
whole, so a killed command leaves the old file or the new one. /run is empty after a reboot, as the lab is.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from netns_lab.names import is_lab_name
from netns_lab.topology import Topology
from nodeplane.reconcile.delta import Delta, diff

ROOT = Path("/run/netns-lab")

T = TypeVar("T")

log = logging.getLogger(__name__)


class StateDirectory:
    """The directory of one lab; it need not exist."""

    def __init__(self, lab: str, root: Path = ROOT) -> None:
        self.lab = lab
        self.path = root / lab
        self.server_data = self.path / "apiserver"
        self.kubeconfig = self.server_data / "kubeconfig"
        self.datastore = self.path / "ipam.sqlite"
        self.notify_socket = self.path / "notify.sock"
        self._topology = self.path / "topology.json"
        self._manifests = self.path / "manifests.json"
        self._is_locked = False

    def exists(self) -> bool:
        """Say whether there is anything of this lab on disk."""
        return self.path.exists()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lab's lock, and make the directory; whoever holds it through this object may enter again.

        The lock is the kernel's: it ends with its holder, however that ends. A child that a killed holder
        has forked keeps the lock until its own program runs, so whoever gets the lock sees every process
        that its predecessors have started.
        """
        if self._is_locked:
            yield
            return
        descriptor = self._lock()
        self._is_locked = True
        try:
            yield
        finally:
            self._is_locked = False
            if _names(self.path) == ["lock"]:
                # Nothing was made: a `down` was first, and a lab of nothing but its lock is none.
                self.remove()
            os.close(descriptor)

    def remove(self) -> None:
        """Remove the directory, the lock in it last; call with the lock held."""
        for entry in self.path.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != "lock":
                entry.unlink()
        (self.path / "lock").unlink()
        self.path.rmdir()
        with suppress(OSError):
            self.path.parent.rmdir()  # not empty: another lab's

    def log_file(self, program: str) -> Path:
        """Return where a program's output goes."""
        return self.path / "logs" / f"{program}.log"

    def exit_file(self, digest: str) -> Path:
        """Return where a pod's command, known by its program's digest, leaves its exit code."""
        return self.path / "exits" / digest

    def keep_exit_files(self, digests: Collection[str]) -> None:
        """Remove the exit codes of all programs but these."""
        for path in (self.path / "exits").glob("*"):
            if path.name not in digests:
                path.unlink(missing_ok=True)

    def save_topology(self, topology: Topology) -> None:
        """Keep what `up` was asked for."""
        write_file(self._topology, msgspec.json.format(msgspec.json.encode(topology)))

    def load_topology(self) -> Topology | None:
        """Return what the last `up` was asked for; None if no `up` came as far as that."""
        return read_record(self._topology, Topology)

    def save_manifests(self, objects: Iterable[dict[str, Any]]) -> None:
        """Keep the objects that `up` was asked for, wherever their files are."""
        write_file(self._manifests, msgspec.json.format(msgspec.json.encode([*objects])))

    def load_manifests(self) -> list[dict[str, Any]]:
        """Return the objects that the last `up` was asked for."""
        return read_record(self._manifests, list[dict[str, Any]]) or []

    def save_record(self, name: str, record: msgspec.Struct) -> None:
        """Keep a fact about something that runs, e.g. `programs/n1/kubeproxy`."""
        write_file(self.path / "records" / f"{name}.json", msgspec.json.encode(record))

    def load_record(self, name: str, kind: type[T]) -> T | None:
        """Return a fact that was kept, None if there is none."""
        return read_record(self.path / "records" / f"{name}.json", kind)

    def drop_record(self, name: str) -> None:
        """Forget a fact."""
        (self.path / "records" / f"{name}.json").unlink(missing_ok=True)

    def records(self, group: str) -> set[str]:
        """Return the names of the records below a group, e.g. `programs`, the group included."""
        base = self.path / "records"
        return {str(path.relative_to(base).with_suffix("")) for path in (base / group).rglob("*.json")}

    def sync_files(self, folder: str, desired: Mapping[str, bytes]) -> Delta[str, bytes]:
        """Make the files below a folder be those of `desired`, and return what that changed."""
        base = self.path / folder
        delta = self.diff_files(folder, desired)
        for name, content in delta.upsert.items():
            write_file(base / name, content)
        for name in delta.delete:
            # Gone already: a killed write's temporary file, which the same write has just moved into place.
            (base / name).unlink(missing_ok=True)
        _remove_empty(base)
        return delta

    def diff_files(self, folder: str, desired: Mapping[str, bytes]) -> Delta[str, bytes]:
        """Say what makes the files below a folder be those of `desired`."""
        base = self.path / folder
        actual = {
            str(path.relative_to(base)): path.read_bytes() for path in base.rglob("*") if path.is_file()
        }
        return diff(desired, actual)

    def _lock(self) -> int:
        while True:
            self.path.mkdir(mode=0o755, parents=True, exist_ok=True)
            try:
                descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                continue  # `down` has just removed the directory
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("waiting for another command on this lab lab=%s", self.lab)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if self._is_lock(descriptor):
                return descriptor
            os.close(descriptor)  # the holder was a `down`: this file is no longer the lock

    def _is_lock(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path / "lock"))
        except FileNotFoundError:
            return False


def _remove_empty(base: Path) -> None:
    """Remove the folders below one that hold no file, also those that a killed call has left."""
    # Backwards, a folder comes after all that is in it.
    for folder in sorted((path for path in base.rglob("*") if path.is_dir()), reverse=True):
        with suppress(OSError):
            folder.rmdir()  # not empty


def _names(path: Path) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


def saved_labs(root: Path = ROOT) -> set[str]:
    """Return the labs that have a directory."""
    try:
        return {entry.name for entry in root.iterdir() if is_lab_name(entry.name)}
    except FileNotFoundError:
        return set()


def write_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Put a file in place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A hidden name, so that whoever lists the directory takes it for no file of ours.
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    temporary.rename(path)


def read_record(path: Path, kind: type[T]) -> T | None:
    """Read a file that `write_file` wrote; None if it is not there or from a version with other fields."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
