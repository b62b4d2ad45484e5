"""Credentials from a program that the kubeconfig names (client.authentication.k8s.io/v1).

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins.
The program runs without a terminal and is asked again when its answer expires or the server refuses it. What
it leaves running is its own business while it answers in time, and killed when it does not.
"""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from nodeplane.errors import ApiError, ConfigError

API_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")

# A plugin may ask an identity provider on the far side of the world, but it must not hang a node for ever.
_TIMEOUT_S = 60.0
# A token that expires on its way is refused; ask a little earlier.
_LEEWAY = timedelta(seconds=10)


class Credential(msgspec.Struct, frozen=True, rename="camel"):
    """What the plugin answered (ExecCredentialStatus): a token, a client certificate (PEM), or both."""

    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether it has not expired; without an expiry it is valid until the server refuses it."""
        return self.expiration_timestamp is None or now + _LEEWAY < self.expiration_timestamp


class ExecCommand(msgspec.Struct, frozen=True):
    """How to run the plugin; `environment` comes on top of our own."""

    api_version: str
    command: str
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    # The cluster's address and CA, for plugins that the kubeconfig lets know.
    cluster: Mapping[str, Any] | None = None
    install_hint: str = ""

    @property
    def request(self) -> str:
        """The ExecCredential that the plugin finds in KUBERNETES_EXEC_INFO."""
        spec: dict[str, Any] = {"interactive": False}
        if self.cluster is not None:
            spec["cluster"] = self.cluster
        document = {"apiVersion": self.api_version, "kind": "ExecCredential", "spec": spec}
        return msgspec.json.encode(document).decode()


class _Answer(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    status: Credential


class ExecPlugin:
    """Runs the plugin when its last answer is of no use any more; one run serves all who ask meanwhile."""

    def __init__(self, command: ExecCommand, timeout_s: float = _TIMEOUT_S) -> None:
        self.command = command
        self._timeout_s = timeout_s
        self._credential: Credential | None = None
        self._lock = asyncio.Lock()

    async def credential(self) -> Credential:
        """Return a credential that has not expired.

        Raises:
            ConfigError: there is no such program, or its answer is none.
            ApiError: the program failed, which may pass.
        """
        async with self._lock:
            if self._credential is None or not self._credential.is_valid(datetime.now(UTC)):
                self._credential = decode_answer(self.command, await self._run())
            return self._credential

    def refuse(self, credential: Credential) -> None:
        """Take note that the server refused a credential: the next one asked for is a fresh one."""
        if self._credential is credential:
            self._credential = None

    async def _run(self) -> bytes:
        command = self.command
        environment = {**os.environ, **command.environment, "KUBERNETES_EXEC_INFO": command.request}
        # Memory instead of pipes: a pipe ends when the last child that the plugin has started lets go of it,
        # a plugin has answered when it ends itself. Nor does a token reach a disk.
        with _memory("stdout") as output, _memory("stderr") as errors:
            try:
                process = await asyncio.create_subprocess_exec(
                    command.command,
                    *command.arguments,
                    env=environment,
                    stdin=DEVNULL,
                    stdout=output,
                    stderr=errors,
                    start_new_session=True,
                )
            except OSError as exc:
                hint = f" ({' '.join(command.install_hint.split())})" if command.install_hint else ""
                raise ConfigError(command.command, "", f"expected a program: {exc.strerror}{hint}") from exc
            await self._wait(process)
            if process.returncode:
                last_words = _content(errors).decode(errors="replace").strip().rpartition("\n")[2]
                raise ApiError(
                    f"credential plugin {command.command}: exit code {process.returncode}: {last_words}"
                )
            return _content(output)

    async def _wait(self, process: asyncio.subprocess.Process) -> None:
        """Wait until the plugin ends; end it with all it has started when that takes too long."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await process.wait()
        except TimeoutError as exc:
            raise ApiError(
                f"credential plugin {self.command.command}: no answer in {self._timeout_s:g} s"
            ) from exc
        finally:
            if process.returncode is None:
                # Its session is its process group: a shell's children are in it. It may end meanwhile.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


@contextmanager
def _memory(name: str) -> Iterator[int]:
    descriptor = os.memfd_create(f"credential-plugin-{name}")
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _content(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def decode_answer(command: ExecCommand, output: bytes) -> Credential:
    """Decode what a plugin printed.

    Raises:
        ConfigError: it is no ExecCredential of the version that the kubeconfig names, or holds nothing.
    """
    try:
        answer = msgspec.json.decode(output, type=_Answer)
    except msgspec.DecodeError as exc:
        raise ConfigError(command.command, "", f"expected an ExecCredential on stdout: {exc}") from exc
    if (answer.kind, answer.api_version) != ("ExecCredential", command.api_version):
        raise ConfigError(
            command.command, "apiVersion", f"expected an ExecCredential of {command.api_version}"
        )
    status = answer.status
    if bool(status.client_certificate_data) != bool(status.client_key_data):
        raise ConfigError(command.command, "status", "expected a client certificate together with its key")
    if not status.token and not status.client_certificate_data:
        raise ConfigError(command.command, "status", "expected a token or a client certificate")
    if status.expiration_timestamp is not None and status.expiration_timestamp.tzinfo is None:
        raise ConfigError(
            command.command, "status.expirationTimestamp", "expected a time with its zone (RFC 3339)"
        )
    return status
