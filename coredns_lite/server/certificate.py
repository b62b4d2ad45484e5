"""The certificate of a TLS listener, read again when its files change."""

import logging
import ssl
from pathlib import Path

from coredns_lite.plugins.tls import TlsFiles
from nodeplane.errors import ConfigError

log = logging.getLogger(__name__)

_ALPN = ["dot"]


class Certificate:
    """Gives the context that the next connection is served with.

    Raises:
        ConfigError: a file is not there, or is not what it is said to be.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._seen = self._look()
        try:
            self._context = _load(files)
        except OSError as exc:
            expected = f"expected a certificate that fits the key {files.key}, got {exc}"
            raise ConfigError(str(files.certificate), "", expected) from exc

    def context(self) -> ssl.SSLContext:
        """Return the context of the files as they are, or were when they last fitted together."""
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            try:
                self._context = _load(self._files)
                log.info("certificate loaded file=%s", self._files.certificate)
            except OSError as exc:
                log.error(
                    "certificate not loaded, the old one stays file=%s error=%r",
                    self._files.certificate,
                    str(exc),
                )
        return self._context

    def _look(self) -> tuple[object, ...]:
        """Return what changes whenever a file does, through symbolic links too (mounted Secrets)."""
        return tuple(_identity(path) for path in (self._files.certificate, self._files.key))


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _load(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(_ALPN)
    context.load_cert_chain(files.certificate, files.key)
    if files.authority:
        context.load_verify_locations(files.authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
