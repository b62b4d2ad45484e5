"""When a namespace's ruleset changed: the kernel's own notifications, stamped as they come."""

import queue
import socket
import threading
import time
from pathlib import Path

from nodeplane.datapath import netns
from nodeplane.datapath.nft import netlink as nl

_NETLINK_NETFILTER, _SOL_NETLINK, _ADD_MEMBERSHIP, _NFNLGRP_NFTABLES = 12, 270, 1, 7
_READ_BYTES = 1 << 20


class RulesetClock:
    """Notes the moment of each commit (NFT_MSG_NEWGEN comes once the new generation is in force)."""

    def __init__(self, ns: Path) -> None:
        with netns.inside(ns):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
        self._socket.settimeout(0.2)
        self._times: queue.SimpleQueue[float] = queue.SimpleQueue()
        self._is_over = False
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> "RulesetClock":
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._is_over = True
        self._thread.join()
        self._socket.close()

    def clear(self) -> None:
        """Forget the commits so far."""
        while not self._times.empty():
            self._times.get()

    def next(self, within_s: float) -> float:
        """Wait for the next commit; return its time on the monotonic clock."""
        return self._times.get(timeout=within_s)

    def _listen(self) -> None:
        while not self._is_over:
            try:
                data = self._socket.recv(_READ_BYTES)
            except TimeoutError:
                continue
            now = time.monotonic()
            if any(kind & 0xFF == nl.NEWGEN for kind, *_ in nl.messages(data)):
                self._times.put(now)
