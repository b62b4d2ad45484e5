"""The page's server, from its start to Ctrl-C."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Generator

import uvicorn

from netns_lab.state import StateDirectory
from netns_lab.ui.access import Access
from netns_lab.ui.app import build_app
from netns_lab.ui.watcher import Watcher

_SHUTDOWN_LIMIT_S = 1


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: they would raise the signal once more at the end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def serve(state: StateDirectory, access: Access, listener: socket.socket) -> None:
    """Answer until SIGINT or SIGTERM; pages that are open then end at once."""
    watcher = Watcher(state)
    config = uvicorn.Config(
        build_app(watcher, access),
        log_config=None,
        # Its warnings are about what strangers send.
        log_level="error",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=_SHUTDOWN_LIMIT_S,
    )
    server = _Server(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.handle_exit, number, None)
    try:
        await server.serve([listener])
    finally:
        watcher.close()
