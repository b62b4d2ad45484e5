"""One call at a time for a container, of those of one process; `cni.call_lock` is between processes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """One lock for each container that somebody is at work on; the empty name has none."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[threading.Lock, int]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def of(self, container_id: str) -> Iterator[None]:
        """Wait for a container's turn and hold it."""
        if not container_id:
            yield
            return
        with self._lock:
            lock, users = self._locks.get(container_id, (threading.Lock(), 0))
            self._locks[container_id] = lock, users + 1
        try:
            with lock:
                yield
        finally:
            with self._lock:
                users = self._locks[container_id][1]
                if users == 1:
                    del self._locks[container_id]
                else:
                    self._locks[container_id] = lock, users - 1
