"""What each pod may send as: a small file for each, beside the agent's socket, where a wipe does not reach.

An Ethernet address that a runtime chose, allowed prefixes, and a check that is off stand nowhere else. The
file is written before the kernel is changed, so that whatever is in the kernel stands here. On /run, as the
lock: both end with the boot, as the kernel's table does. A call reads and writes the file of its own pod
alone; its name says of which link and whose it is.
"""

import errno
import hashlib
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cni.call_lock import locked
from nodeplane.errors import kernel_error
from nodeplane.json_decoder import decode_json

_FOLDER, _LOCK = "source-check", "source-check.lock"
_FRESH = ".new"
_DIGITS = 16

log = logging.getLogger(__name__)


class Sender(msgspec.Struct, frozen=True):
    """One attachment, and what it may send as.

    Attributes:
        container_id: Its container.
        interface: Its interface in there.
        network: Of which network it is.
        host_link: The host's end of its link.
        mac: Of the pod's end.
        addresses: The pod's.
        prefixes: What it may send from beside them.
        is_checked: Whether anybody looks.
    """

    container_id: str
    interface: str
    network: str
    host_link: str
    mac: str
    addresses: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    is_checked: bool = True

    @property
    def file_name(self) -> str:
        """The name of its file."""
        return f"{self.host_link}{_ending(self.container_id, self.interface)}"


def read_sender(folder: Path, name: str) -> Sender | None:
    """Read a file; None without one, or if it makes no sense."""
    path = folder / _FOLDER / name
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise kernel_error(f"read {path}", exc.errno or errno.EIO) from exc
    try:
        return decode_json(data, Sender)
    except msgspec.MsgspecError as exc:
        # Somebody else's doing, since it is replaced whole. A DEL has to succeed all the same.
        log.warning("source check forgotten, its file makes no sense path=%s error=%r", path, str(exc))
        return None


def write_sender(folder: Path, sender: Sender) -> None:
    """Write an attachment's file.

    Raises:
        KernelError: it can't be written.
    """
    path = folder / _FOLDER / sender.file_name
    fresh = f"{path}{_FRESH}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        try:
            descriptor = os.open(fresh, flags, 0o600)
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(fresh, flags, 0o600)
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.encode(sender))
        os.replace(fresh, path)
    except OSError as exc:
        raise kernel_error(f"write {path}", exc.errno or errno.EIO) from exc


def remove_sender(folder: Path, name: str) -> None:
    """Remove a file, and what a killed ADD left of it; one that is gone is fine.

    Raises:
        KernelError: it can't be removed.
    """
    path = folder / _FOLDER / name
    try:
        path.unlink(missing_ok=True)
        Path(f"{path}{_FRESH}").unlink(missing_ok=True)
    except OSError as exc:
        raise kernel_error(f"remove {path}", exc.errno or errno.EIO) from exc


def remove_drafts(folder: Path) -> None:
    """Remove what killed ADDs left; only while nobody writes.

    Raises:
        KernelError: it can't be removed.
    """
    for name in _list(folder):
        if name.endswith(_FRESH):
            remove_sender(folder, name)


def list_names(folder: Path) -> list[str]:
    """Return the names of all files, among them one that a killed ADD has only begun.

    Raises:
        KernelError: they can't be listed.
    """
    return sorted({name.removesuffix(_FRESH) for name in _list(folder)})


def _list(folder: Path) -> list[str]:
    path = folder / _FOLDER
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise kernel_error(f"list {path}", exc.errno or errno.EIO) from exc


def pick_own(names: Iterable[str], container_id: str, interface: str) -> list[str]:
    """Return the names of an attachment's files."""
    ending = _ending(container_id, interface)
    return [name for name in names if name.endswith(ending)]


def link_of(name: str) -> str:
    """Return which link a file is about."""
    return name.partition("-")[0]


def read_link(folder: Path, host_link: str) -> list[Sender]:
    """Read all files about a link: a pod's sandboxes before and after one another have the same."""
    start = f"{host_link}-"
    names = [name for name in _list(folder) if name.startswith(start) and not name.endswith(_FRESH)]
    senders = (read_sender(folder, name) for name in names)
    return [sender for sender in senders if sender is not None]


@contextmanager
def changing(folder: Path, host_link: str) -> Iterator[None]:
    """Hold off all others who want to change what a link may send as; calls for two sandboxes may meet.

    Raises:
        CniError: somebody else takes too long (code 11).
        KernelError: the lock can't be had.
    """
    with locked(folder / _LOCK, host_link):
        yield


def read_senders(folder: Path) -> Iterator[Sender]:
    """Read all files."""
    for name in list_names(folder):
        sender = read_sender(folder, name)
        if sender is not None:
            yield sender


def read_loose(folder: Path) -> frozenset[str]:
    """Read which host links are not for the kernel to check (rp_filter)."""
    senders = read_senders(folder)
    return frozenset(each.host_link for each in senders if each.prefixes or not each.is_checked)


def _ending(container_id: str, interface: str) -> str:
    digest = hashlib.sha1(f"{container_id}/{interface}".encode(), usedforsecurity=False).hexdigest()
    return f"-{digest[:_DIGITS]}"
