"""Who we are to an API server: bearer tokens as httpx2 puts them on requests.

A token file is read for every request. Requests are rare (a list's pages, a watch every few minutes), and
so a token that the kubelet has replaced is used at once instead of after the first refusal.
"""

import logging
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import httpx2

from nodeplane.errors import ConfigError
from nodeplane.kube.exec_plugin import ExecPlugin

log = logging.getLogger(__name__)


class TokenFileAuth(httpx2.Auth):
    """A bearer token from a file that is replaced from time to time.

    Raises:
        ConfigError: there is no token in the file now; later, the last one stays in use.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._token = self._read()

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Send the request with the token that is in the file now."""
        try:
            self._token = self._read()
        except ConfigError as exc:
            log.warning("token not read, using the last one error=%r", str(exc))
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request

    def _read(self) -> str:
        try:
            token = self._file.read_text().strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(str(self._file), "", f"expected a readable token: {exc}") from exc
        if not token:
            raise ConfigError(str(self._file), "", "expected a token, the file is empty")
        return token


class ExecAuth(httpx2.Auth):
    """A bearer token from an exec plugin, asked for again when the server refuses it."""

    def __init__(self, plugin: ExecPlugin) -> None:
        self._plugin = plugin

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Send the request with the plugin's token; refused, once more with a fresh one."""
        credential = await self._plugin.credential()
        if credential.token:
            request.headers["Authorization"] = f"Bearer {credential.token}"
        response = yield request
        if response.status_code != httpx2.codes.UNAUTHORIZED:
            return
        self._plugin.refuse(credential)
        fresh = await self._plugin.credential()
        # A client certificate is the connection's: the session after this refusal presents the new one.
        if fresh.token:
            request.headers["Authorization"] = f"Bearer {fresh.token}"
            yield request
