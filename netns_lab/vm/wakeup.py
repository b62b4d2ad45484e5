"""Signals as something to read, so that one loop can wait for them with all else."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

_CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGWINCH)


@contextmanager
def caught_signals() -> Iterator[int]:
    """Yield a descriptor where each signal's number can be read as a byte, in the place of what it does.

    What is ignored stays so: a command in the background of a script, or under nohup.
    """
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    caught = [number for number in _CAUGHT if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda *_: None) for number in caught}
    other = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(other)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)
