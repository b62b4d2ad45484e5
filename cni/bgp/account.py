"""The user that bird runs as, and what of bird's directory is whose.

bird begins as root, opens its control socket, and becomes that user with the capabilities that it needs
(CAP_NET_ADMIN, NET_BIND_SERVICE, NET_BROADCAST, NET_RAW; bird's sysdep/linux/syspriv.h). It makes its pid and
log files in the directory, and may not touch what is root's in there: the directory is sticky.

    DIRECTORY       root:bird 1770
      bird.conf     root:bird 0640     holds passwords
      bird.pid, bird.log, bird.log.1   bird's own
"""

import grp
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

import msgspec

from nodeplane.errors import SetupError

ROOT = "root"
_OWN_FILES = ("bird.pid", "bird.log", "bird.log.1")


class Account(msgspec.Struct, frozen=True):
    """A user and its main group, by name and by number."""

    user: str
    group: str
    uid: int
    gid: int


def find_account(user: str) -> Account | None:
    """Return the account that bird is to have; None is root's own.

    Raises:
        SetupError: there is no such user.
    """
    if user == ROOT:
        return None
    try:
        found = pwd.getpwnam(user)
        group = grp.getgrgid(found.pw_gid)
    except KeyError as exc:
        raise SetupError(f"expected a user {user!r} for bird (Debian: bird2), or bgp.user: root") from exc
    return Account(user, group.gr_name, found.pw_uid, found.pw_gid)


def prepare_directory(directory: Path, account: Account | None) -> None:
    """Make the directory, and make it bird's as far as it is to be.

    Raises:
        OSError: it can't be made, or given away.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    gid, mode = (0, 0o700) if account is None else (account.gid, 0o1770)
    found = directory.stat()
    if (found.st_gid, found.st_mode & 0o7777) != (gid, mode):
        os.chown(directory, -1, gid)
        directory.chmod(mode)


def share(path: Path, account: Account | None) -> None:
    """Let bird read a file of root's that nobody else may read.

    Raises:
        OSError: it is not there, or can't be given away.
    """
    # The directory is bird's to write to: what stands there in the file's place is not followed.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.fchown(descriptor, -1, 0 if account is None else account.gid)
        os.fchmod(descriptor, 0o600 if account is None else 0o640)
    finally:
        os.close(descriptor)


def write_secret(path: Path, text: str, account: Account | None) -> None:
    """Write a file that only root and bird's group may read, whatever stood there.

    Raises:
        OSError: it can't be written, or given away.
    """
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    with open(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    share(path, account)


def remove_foreign_files(directory: Path, account: Account | None) -> None:
    """Remove what a bird that ran as another user left, which the next one can't write; none may run.

    Raises:
        OSError: it can't be removed.
    """
    uid = 0 if account is None else account.uid
    for name in _OWN_FILES:
        with suppress(FileNotFoundError):
            if (directory / name).lstat().st_uid != uid:
                (directory / name).unlink()
