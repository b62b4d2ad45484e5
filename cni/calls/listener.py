"""The socket that the shims call, and its file."""

import os
import socket
from pathlib import Path

from nodeplane.errors import kernel_error

_BACKLOG = 1024


def listen(path: Path) -> socket.socket:
    """Make the socket and put it in the place of whatever is at `path`.

    Raises:
        KernelError: the folder or the socket can't be made.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        listener.bind(str(draft))
        draft.chmod(0o600)
        listener.listen(_BACKLOG)
        # Whoever looks meanwhile finds the old one or the new one, never one that nobody listens to.
        draft.rename(path)
    except OSError as exc:
        listener.close()
        raise kernel_error(f"listen on {path}", exc.errno or 0) from exc
    return listener


def inode(path: Path) -> int | None:
    """Return the file's number, by which it is told from another one that took its name; None without one."""
    try:
        return path.stat().st_ino
    except OSError:
        return None
