"""The way to an API server: address, trust, identity and proxy, read afresh for every session.

A session is an open client that lasts until something goes wrong. Since each begins with reading the
kubeconfig and every file that it names, a rotated CA, certificate or token needs no code of its own: the
failure that the rotation brings is followed by a session that knows the new files.
"""

import logging
import ssl
from base64 import b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx2
import msgspec
from lightkube.config.client_adapter import BearerAuth, verify_cluster

from nodeplane.errors import ConfigError
from nodeplane.kube.byte_stream import use_byte_streams
from nodeplane.kube.credentials import ExecAuth, TokenFileAuth
from nodeplane.kube.exec_plugin import Credential, ExecCommand, ExecPlugin
from nodeplane.kube.kubeconfig import Target, read_target

# To connect and between two reads. A watch has its own idea of silence; see `nodeplane.kube.session`.
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0

log = logging.getLogger(__name__)

Observe = Callable[[str, str, str, float], None]
"""Told of a request: its method, the server (host and port), the status, or `<error>` if there was none, and
how long that took in seconds; client-go's metrics of its requests."""


class _Settings(msgspec.Struct, frozen=True):
    """What a client is made of."""

    server: str
    verify: ssl.SSLContext | bool
    auth: httpx2.Auth | None
    proxy: str | None
    tls_server_name: str | None


class Connection:
    """Opens sessions with the API server that `read` finds; what went bad since the last one is not used.

    `is_direct` says that no proxy of the environment's leads there. `observe` is told of each request.

    Raises:
        ConfigError: what `read` finds is wrong, the first time.
    """

    def __init__(
        self, read: Callable[[], Target], *, is_direct: bool = False, observe: Observe | None = None
    ) -> None:
        self.observe = observe
        self._read = read
        self._is_direct = is_direct
        self._plugin: ExecPlugin | None = None
        self._settings: _Settings | None = None

    @classmethod
    def from_kubeconfig(
        cls,
        kubeconfig: Path,
        master: str | None = None,
        *,
        context: str | None = None,
        is_direct: bool = False,
        observe: Observe | None = None,
    ) -> "Connection":
        """Build the connection that a kubeconfig describes, or this pod's for the path `in-cluster`."""
        return cls(lambda: read_target(kubeconfig, master, context), is_direct=is_direct, observe=observe)

    async def open(self) -> httpx2.AsyncClient:
        """Open a client; close it after the first failure and open another.

        Raises:
            ConfigError: the configuration is wrong, and there is no last good one.
            ApiError: the credential plugin failed.
        """
        try:
            self._settings = await self._prepare()
        except ConfigError as exc:
            if self._settings is None:
                raise
            log.warning("connection refused, its last good version stays in force error=%r", str(exc))
        return _build_client(self._settings, is_direct=self._is_direct)

    async def _prepare(self) -> _Settings:
        target = self._read()
        credential = None
        command = _exec_command(target)
        if command is None:
            self._plugin = None
        else:
            if self._plugin is None or self._plugin.command != command:
                self._plugin = ExecPlugin(command)
            credential = await self._plugin.credential()
        is_tls = target.cluster.server.startswith("https:")
        return _Settings(
            server=target.cluster.server,
            verify=_build_tls_context(target, credential) if is_tls else False,
            auth=_build_auth(target, self._plugin),
            proxy=target.cluster.proxy_url,
            tls_server_name=target.cluster.tls_server_name,
        )


def _build_client(settings: _Settings, *, is_direct: bool) -> httpx2.AsyncClient:
    async def name_server(request: httpx2.Request) -> None:
        if settings.tls_server_name:
            request.extensions["sni_hostname"] = settings.tls_server_name

    try:
        client = httpx2.AsyncClient(
            base_url=settings.server,
            verify=settings.verify,
            auth=settings.auth,
            proxy=settings.proxy,
            # Go's clients never reach loopback addresses through the environment's proxy, nor do we.
            trust_env=not (is_direct or _is_loopback(settings.server)),
            timeout=httpx2.Timeout(CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
            headers={
                "Accept": "application/json",
                # Compressing lists costs both sides more than a cluster's network gains (k/k issue 112296).
                "Accept-Encoding": "identity",
                "User-Agent": "nodeplane",
            },
            event_hooks={"request": [name_server]},
        )
    except (ImportError, ValueError, httpx2.InvalidURL) as exc:
        raise ConfigError("HTTPS_PROXY, ALL_PROXY", "", f"expected http:// or https:// URLs: {exc}") from exc
    use_byte_streams(client)
    return client


def _build_tls_context(target: Target, credential: Credential | None) -> ssl.SSLContext:
    """Build what verifies the server and proves who we are."""
    user = target.user
    if credential is not None and credential.client_certificate_data:
        user = msgspec.structs.replace(
            user,
            client_cert_data=b64encode(credential.client_certificate_data.encode()).decode(),
            client_key_data=b64encode(credential.client_key_data.encode()).decode(),
        )
    _check_files(target)
    try:
        return verify_cluster(target.cluster, user, lambda name: target.file(str(name)))
    except (OSError, ValueError, Base64Error) as exc:
        # Of ssl's refusals (an OSError too) none says which of the files it means.
        part, field = _guilty_field(target)
        # The word "got" keeps the value itself, which may be a key, out of the message.
        raise target.error(part, field, f"expected PEM, got what TLS refuses: {exc}") from exc


def _check_files(target: Target) -> None:
    cluster, user = target.cluster, target.user
    files: tuple[tuple[Any, str, str | None], ...] = (
        ("cluster", "certificate-authority", cluster.certificate_auth),
        ("user", "client-certificate", user.client_cert),
        ("user", "client-key", user.client_key),
    )
    for part, field, name in files:
        if name:
            try:
                target.file(name).read_bytes()
            except OSError as exc:
                raise target.error(part, field, f"expected a readable file: {exc.strerror}") from exc


def _guilty_field(target: Target) -> tuple[Any, str]:
    """Name the field that TLS refused: the CA if it does not load alone, else the client's certificate."""
    cluster, user = target.cluster, target.user
    ca_field = "certificate-authority-data" if not cluster.certificate_auth else "certificate-authority"
    try:
        verify_cluster(cluster, type(user)(), lambda name: target.file(str(name)))
    except (OSError, ValueError, Base64Error):
        return "cluster", ca_field
    return "user", "client-certificate" if user.client_cert else "client-certificate-data"


def _build_auth(target: Target, plugin: ExecPlugin | None) -> httpx2.Auth | None:
    """Choose among a user's credentials in client-go's order; a client certificate comes on top of any."""
    user = target.user
    if user.token_file:
        return TokenFileAuth(target.file(user.token_file))
    if user.token:
        return BearerAuth(user.token)
    if plugin is not None:
        return ExecAuth(plugin)
    if user.username and user.password:
        return httpx2.BasicAuth(user.username, user.password)
    return None


def _exec_command(target: Target) -> ExecCommand | None:
    plugin = target.user.exec
    if plugin is None:
        return None
    command = plugin.command
    if "/" in command:
        # A path is relative to the kubeconfig; a bare name is looked up in PATH.
        command = str(target.file(command))
    return ExecCommand(
        api_version=plugin.apiVersion,
        command=command,
        arguments=tuple(plugin.args or ()),
        environment={variable.name: variable.value for variable in plugin.env or ()},
        cluster=_cluster_info(target) if plugin.provide_cluster_info else None,
        install_hint=plugin.installHint or "",
    )


def _cluster_info(target: Target) -> dict[str, Any]:
    """Describe the cluster as ExecCredential's spec.cluster does."""
    cluster = target.cluster
    authority = cluster.certificate_auth_data
    if cluster.certificate_auth:
        try:
            authority = b64encode(target.file(cluster.certificate_auth).read_bytes()).decode()
        except OSError as exc:
            raise target.error(
                "cluster", "certificate-authority", f"expected a readable file: {exc.strerror}"
            ) from exc
    info = {
        "server": cluster.server,
        "tls-server-name": cluster.tls_server_name,
        "insecure-skip-tls-verify": cluster.insecure or None,
        "certificate-authority-data": authority,
        "proxy-url": cluster.proxy_url,
    }
    return {name: value for name, value in info.items() if value is not None}


def _is_loopback(server: str) -> bool:
    host = httpx2.URL(server).host
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
