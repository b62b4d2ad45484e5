"""What a call has to say on stderr, kept for its caller where cni-agent does the work.

In a process of its own a plugin's stderr is the caller's: its warnings (`logging`'s last resort) and what
an IPAM plugin that it runs writes there (SPEC section 4). In the agent, whose stderr is its log, both are
gathered for the answer's frame (`cni.calls.protocol`); the warnings stand in the log as well.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from cni.calls.protocol import STDERR_BYTES

# Each thread has a context of its own, and each call a thread.
_kept: ContextVar[bytearray | None] = ContextVar("stderr of the call", default=None)


@contextmanager
def kept() -> Iterator[bytearray]:
    """Gather what the calling thread's call has for stderr; what is more than a frame holds is left out."""
    buffer = bytearray()
    token = _kept.set(buffer)
    try:
        yield buffer
    finally:
        _kept.reset(token)


@contextmanager
def stderr_for_child() -> Iterator[int | None]:
    """Yield what a program that is run for the call is to have as its stderr; None for this process's own."""
    buffer = _kept.get()
    if buffer is None:
        yield None
        return
    # A file and no pipe: whoever keeps it open (a daemon that the program leaves) keeps nobody waiting.
    descriptor = os.memfd_create("stderr")
    try:
        yield descriptor
    finally:
        _append(buffer, os.pread(descriptor, STDERR_BYTES, 0))
        os.close(descriptor)


class CallerHandler(logging.Handler):
    """Gives a call's warnings to its caller, as they would stand on a plugin's own stderr."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        buffer = _kept.get()
        if buffer is not None:
            _append(buffer, self.format(record).encode(errors="replace") + b"\n")


@contextmanager
def telling_callers() -> Iterator[None]:
    """Have all warnings of calls go to their callers, beside where else they go."""
    handler = CallerHandler()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


def _append(buffer: bytearray, data: bytes) -> None:
    buffer += data[: STDERR_BYTES - len(buffer)]
