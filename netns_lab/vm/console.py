"""What the guest's kernel and QEMU say: shown with `-v`, and the last of it when the guest ends early."""

import logging
import os

log = logging.getLogger(__name__)

_READ_BYTES = 64 * 1024


class Console:
    """The reading end of a pipe that QEMU writes to."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""
        self._last = ""
        self.is_open = True

    def fileno(self) -> int:
        """Return the descriptor, to wait for."""
        return self._descriptor

    def read(self) -> None:
        """Take what is there."""
        data = os.read(self._descriptor, _READ_BYTES)
        self.is_open = bool(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if not data:
            lines.append(self._rest)
        for line in lines:
            text = line.decode(errors="replace").strip()
            if text:
                log.debug("guest: %s", text)
                self._last = text

    def last_words(self) -> str:
        """Return the last line; whoever is to write has ended, or does not say more."""
        os.set_blocking(self._descriptor, False)
        try:
            while self.is_open:
                self.read()
        except BlockingIOError:
            pass
        return self._last or "none"
