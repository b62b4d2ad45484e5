"""Turns among the processes of a machine that get into each other's way in a cluster's store.

They mostly do: the plugins of one node give addresses out of the same block. Who was refused waits for its
turn before it tries again, so that of many only one does. A courtesy that saves requests, not a lock that
anything depends on: whoever can't have its turn goes on without.
"""

import fcntl
import os
import random
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

_DIRECTORY = "/run"
# Few, as nobody removes them; two names on one file only wait for each other more often.
_FILES = 16
# As long as some hundred requests take: who holds it for longer has other worries.
_PATIENCE_S = 0.5
_PAUSE_S = 0.001


class Turn:
    """A turn at `name`, which is the same for all that may be in the way."""

    def __init__(self, name: str) -> None:
        self._path = f"{_DIRECTORY}/nodeplane-ipam-{zlib.crc32(name.encode()) % _FILES}.turn"

    @contextmanager
    def taken(self) -> Iterator[bool]:
        """Run the block when it is our turn; say whether it is."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            # Not root, or no such directory.
            yield False
            return
        try:
            yield _lock(file)
        finally:
            os.close(file)


def _lock(file: int) -> bool:
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline_s:
                return False
            time.sleep(_PAUSE_S * random.uniform(0.5, 1.5))
        else:
            return True
