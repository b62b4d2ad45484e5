"""The real `netns-lab apiserver`, awaited until it says that it is ready."""

import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from tests.ready_process import ready_process

PROGRAM = str(Path(sys.executable).with_name("netns-lab"))


def apiserver(directory: Path, *options: str) -> AbstractContextManager["subprocess.Popen[str]"]:
    """Run a server that answers; killed at the end if it still runs."""
    return ready_process([PROGRAM, "apiserver", "--data-dir", str(directory), *options])
