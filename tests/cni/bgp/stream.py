"""A stream of numbered packets between two namespaces, and which of them were lost."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nodeplane.datapath import netns
from tests.netns_fixture import eventually

_NUMBER = struct.Struct("!Q")
_PACE_S = 0.001


class Stream:
    """What was sent and what has come."""

    def __init__(self, source: socket.socket, sink: socket.socket, target: tuple[str, int]) -> None:
        self._source, self._sink, self._target = source, sink, target
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._send, self._receive)]
        self.sent = 0
        self.refused = 0
        self.arrived: set[int] = set()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    @property
    def lost(self) -> int:
        """How many did not arrive, once the last sent one had time to."""
        return self.sent - len(self.arrived)

    def _send(self) -> None:
        while not self._ending.is_set():
            try:
                self._source.sendto(_NUMBER.pack(self.sent), self._target)
            except OSError:
                # No route: a packet that is lost at its source.
                self.refused += 1
            self.sent += 1
            time.sleep(_PACE_S)

    def _receive(self) -> None:
        self._sink.settimeout(0.5)
        while True:
            try:
                data = self._sink.recv(64)
            except TimeoutError:
                if self._ending.is_set():
                    return
                continue
            self.arrived.add(_NUMBER.unpack(data)[0])


@contextmanager
def stream(source_ns: Path, source: str, sink_ns: Path, target: str) -> Iterator[Stream]:
    """Send a packet each millisecond while the body runs; afterwards `lost` is final."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with netns.inside(sink_ns):
        sink = socket.socket(family, socket.SOCK_DGRAM)
    with netns.inside(source_ns):
        sender = socket.socket(family, socket.SOCK_DGRAM)
    with sink, sender:
        sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sink.bind((target, 0))
        sender.bind((source, 0))
        flow = Stream(sender, sink, (target, sink.getsockname()[1]))
        flow.start()
        try:
            # It flows before anything is done to it.
            eventually(lambda: len(flow.arrived), lambda count: count > 20)
            yield flow
        finally:
            flow.stop()
