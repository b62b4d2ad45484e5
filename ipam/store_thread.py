"""A thread for a datastore's calls, which block: for a writer, a disk, a server that does not answer."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def store_thread(name: str) -> Iterator[tuple[ThreadPoolExecutor, threading.Event]]:
    """Yield a thread, and what ends its waiting for a server (`ipam.datastore.open_datastore`).

    That is set at the end: a daemon that is told to go waits for no server.
    """
    ended = threading.Event()
    with ThreadPoolExecutor(1, name) as executor:
        try:
            yield executor, ended
        finally:
            ended.set()
