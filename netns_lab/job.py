"""A pod's own command, run to its end and its exit code kept, so that a job that has ended well runs once.

It stands between the lab and the command because nobody else is there when the command ends: `up` has
returned, and only a parent learns an exit code. It imports little (`python -I -S`).
"""

import os
import signal
import sys
from pathlib import Path

from nodeplane.runtime.sd_notify import notify

EXIT_FILE = "NETNS_LAB_EXIT"
"""The environment variable that names the file for the exit code."""

# Python ignores these two, and a program that is started inherits that.
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)


def main(arguments: list[str]) -> None:
    """Run the command that the arguments are, say READY=1 once it runs, and end with its exit code."""
    exit_file = Path(os.environ.pop(EXIT_FILE))
    environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    try:
        child = os.posix_spawnp(arguments[0], arguments, environment, setsigdef=_RESTORED)
    except OSError as exc:
        sys.exit(f"can't start {arguments[0]}: {exc.strerror}")
    notify("READY=1")
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        code = 128 - code  # as a shell says it: 128 and the signal's number
    temporary = exit_file.with_name(f".{exit_file.name}.new")
    temporary.write_text(str(code))
    temporary.rename(exit_file)
    sys.exit(code)
