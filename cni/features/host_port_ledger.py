"""Which attachment has which host ports: a file beside the agent's socket, which a wipe of our table leaves.

It is written before the kernel is changed, so that whatever is in the kernel stands here (docs/adr/0009), and
it is there only while a pod has host ports: the others' calls pay for one look. On /run, as the lock: it ends
with the boot, as the kernel's table does.
"""

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cni.call_lock import locked
from cni.features.host_port import Claim
from nodeplane.errors import kernel_error
from nodeplane.json_decoder import decode_json

_NAME, _LOCK, _FRESH = "host-ports.json", "host-ports.lock", "host-ports.json.new"

log = logging.getLogger(__name__)


def read_claims(folder: Path) -> tuple[Claim, ...]:
    """Read who has host ports; without a file nobody has.

    Raises:
        KernelError: the file can't be read.
    """
    try:
        descriptor = os.open(folder / _NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ()
    except OSError as exc:
        raise kernel_error(f"read {folder / _NAME}", exc.errno or errno.EIO) from exc
    with open(descriptor, "rb") as file:
        data = file.read()
    try:
        return decode_json(data, tuple[Claim, ...])
    except msgspec.MsgspecError as exc:
        # Somebody else's doing, since it is replaced whole. A DEL has to succeed all the same.
        log.warning(
            "host ports forgotten, their file makes no sense path=%s error=%r", folder / _NAME, str(exc)
        )
        return ()


def write_claims(folder: Path, claims: tuple[Claim, ...]) -> None:
    """Write who has host ports; only within `changing`.

    Raises:
        KernelError: the file can't be written.
    """
    path = folder / _NAME
    try:
        if not claims:
            path.unlink(missing_ok=True)
            return
        fresh = folder / _FRESH
        descriptor = os.open(
            fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.encode(claims))
        fresh.replace(path)
    except OSError as exc:
        raise kernel_error(f"write {path}", exc.errno or errno.EIO) from exc


@contextmanager
def changing(folder: Path) -> Iterator[tuple[Claim, ...]]:
    """Hold off all others who want to change it, and yield what stands there.

    Raises:
        CniError: somebody else takes too long (code 11).
        KernelError: the file can't be had.
    """
    with locked(folder / _LOCK, ""):
        yield read_claims(folder)
