"""Running a coroutine to its end, in an event loop of its own."""

import asyncio
import errno
import socket
from collections.abc import Coroutine
from contextlib import closing
from selectors import DefaultSelector
from typing import Any, TypeVar

from nodeplane.errors import kernel_error

T = TypeVar("T")


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` and return what it returns.

    Raises:
        KernelError: there are no descriptors left for a loop; `main` has not begun.
    """
    # One that has not begun would complain of it, as would a loop that is half there.
    with closing(main):
        _check_descriptors()
        return asyncio.run(main)


def _check_descriptors() -> None:
    """See whether there are as many descriptors as a loop takes."""
    try:
        with DefaultSelector():
            for end in socket.socketpair():
                end.close()
    except OSError as exc:
        raise kernel_error("start an event loop", exc.errno or errno.EIO) from exc
