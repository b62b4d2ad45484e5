"""The life of a daemon: one asyncio loop that ends cleanly on SIGTERM, SIGINT and SIGHUP."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import closing
from typing import Any

from nodeplane.errors import NodeplaneError
from nodeplane.runtime.event_loop import run_async
from nodeplane.runtime.sd_notify import notify


def run_daemon(main: Coroutine[Any, Any, None], leave: Callable[[], float] | None = None) -> None:
    """Run `main` until it ends or a signal asks it to; what it wrote to the kernel stays in force.

    Args:
        main: What the daemon does.
        leave: Called at the first signal; returns for how many seconds to go on. A second signal ends that.

    Raises:
        NodeplaneError: the first one that ended `main`, out of whatever task group it was in.
    """
    try:
        with closing(main):
            run_async(_until_signalled(main, leave))
    except BaseExceptionGroup as group:
        expected = group.subgroup(NodeplaneError)
        if expected is None or group.split(NodeplaneError)[1] is not None:
            raise
        raise _first(expected) from group


async def _until_signalled(main: Coroutine[Any, Any, None], leave: Callable[[], float] | None) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(main)
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            # sd_notify(3): sent at the beginning of the shutdown.
            notify("STOPPING=1")
            if leave:
                loop.call_later(leave(), task.cancel)
                return
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Who is started by nohup(1) is to stay when the terminal goes.
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not stopping:
            raise


def _first(group: BaseExceptionGroup[NodeplaneError]) -> NodeplaneError:
    for exc in group.exceptions:
        return _first(exc) if isinstance(exc, BaseExceptionGroup) else exc
    raise AssertionError("an exception group is never empty")
