"""A pod's own command, run to its end and its exit code kept, so that a job that has ended well runs once.

It stands between the lab and the command because nobody else is there when the command ends: `up` has
returned, and only a parent learns an exit code. It imports little (`python -I -S`).
"""

import os
import select
import signal
import sys
from pathlib import Path
from typing import NoReturn

from nodeplane.runtime.sd_notify import notify

EXIT_FILE = "NETNS_LAB_EXIT"
"""The environment variable that names the file for the exit code."""

# What a command that can't do its work needs to find out: a wrong argument, a missing file.
_AT_ONCE_MS = 1000

# A quarter of a second (sysconf(_SC_CLK_TCK) is 100 on Linux): more than a Python needs to start.
_BEGUN_TICKS = 25

# Python ignores these two, and a program that is started inherits that.
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)


def main(arguments: list[str]) -> None:
    """Run the command that the arguments are, and end with its exit code.

    READY=1 says that it runs, or has ended at once and left its code.
    """
    exit_file = Path(os.environ.pop(EXIT_FILE))
    environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    try:
        child = os.posix_spawnp(arguments[0], arguments, environment, setsigdef=_RESTORED)
    except OSError as exc:
        print(f"can't start {arguments[0]}: {exc.strerror}", file=sys.stderr)
        # As a shell says it: 127 is not there, 126 is no program.
        _leave(exit_file, 127 if isinstance(exc, FileNotFoundError) else 126, is_heard=True)
    has_ended = _ends_at_once(child)
    if not has_ended:
        notify("READY=1")
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        code = 128 - code  # 128 and the signal's number
    _leave(exit_file, code, is_heard=has_ended)


def _leave(exit_file: Path, code: int, *, is_heard: bool) -> NoReturn:
    temporary = exit_file.with_name(f".{exit_file.name}.new")
    temporary.write_text(str(code))
    temporary.rename(exit_file)
    if is_heard:
        # With the code in place: whoever hears this knows how it has ended.
        notify("READY=1")
    sys.exit(code)


def _ends_at_once(child: int) -> bool:
    """Wait until the command has ended or had its chance to; say whether it has ended."""
    handle = os.pidfd_open(child)
    poller = select.poll()
    poller.register(handle, select.POLLIN)
    while not (has_ended := bool(poller.poll(_AT_ONCE_MS))) and not _has_begun(child):
        pass
    os.close(handle)
    return has_ended


def _has_begun(pid: int) -> bool:
    """Say whether a command waits for something or has used its share: a busy machine may give it none."""
    # proc(5): the second field is the program's name in brackets, which may hold any character.
    state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    # Running, or waiting for its own pages from the disk.
    return state not in {b"R", b"D"} or int(fields[10]) + int(fields[11]) >= _BEGUN_TICKS
