"""The caller's terminal, while the command in the guest has one of its own."""

import os
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager


def size_of(terminal: int) -> tuple[int, int]:
    """Return lines and columns."""
    size = os.get_terminal_size(terminal)
    return size.lines, size.columns


@contextmanager
def raw_terminal(terminal: int, *, is_wanted: bool) -> Iterator[None]:
    """Pass every key on, Ctrl-C too; the guest's terminal makes of it what a terminal does."""
    if not is_wanted:
        yield
        return
    before = termios.tcgetattr(terminal)
    tty.setraw(terminal)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
