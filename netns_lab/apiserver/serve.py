"""The server as a whole: store, state, writer, controllers and HTTPS, from one configuration."""

import asyncio
import asyncio.sslproto
import contextlib
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import uvicorn

from netns_lab.apiserver.access import ensure_token, render_kubeconfig
from netns_lab.apiserver.app import ApiServer
from netns_lab.apiserver.bootstrap import FirstObjects
from netns_lab.apiserver.certificates import ensure_certificates, write_private
from netns_lab.apiserver.committer import Committer, Observer
from netns_lab.apiserver.compaction import CompactionSettings, compact_regularly
from netns_lab.apiserver.controllers.run import Controllers, ControllerSettings
from netns_lab.apiserver.history import Event, State
from netns_lab.apiserver.registry import Registry
from netns_lab.apiserver.resources import SERVICES, Resource
from netns_lab.apiserver.service_addresses import ServiceAddresses, ServiceRanges
from netns_lab.apiserver.store import Store
from netns_lab.apiserver.store_url import open_store
from netns_lab.apiserver.watching import WatchSettings
from nodeplane.errors import SetupError
from nodeplane.runtime.sd_notify import notify

_SHUTDOWN_LIMIT_S = 3

# Two records of TLS (RFC 8446, 5.1). asyncio fills a buffer with zeros for each connection, of 256 KiB: of a
# hundred nodes with eight connections each they were most of our memory.
_TLS_BUFFER_BYTES = 32 * 1024

log = logging.getLogger(__name__)


class ServerConfig(msgspec.Struct, frozen=True):
    """How the server runs.

    Attributes:
        directory: Certificates, token, kubeconfig, and the SQLite file where `store` names none.
        store: `sqlite:///PATH`, `etcd://HOST:PORT/PREFIX` or `memory://`; empty for SQLite in the directory.
        listen: The address to serve on; port 0 picks a free one.
        controllers: How the controllers work; None runs none.
        advertise: The address that clients and the Service `kubernetes` use; empty for the listening one.
    """

    directory: Path
    store: str = ""
    listen: tuple[str, int] = ("127.0.0.1", 0)
    advertise: str = ""
    ranges: ServiceRanges = ServiceRanges()
    watch: WatchSettings = WatchSettings()
    compaction: CompactionSettings = CompactionSettings()
    controllers: ControllerSettings | None = None


class RunningServer:
    """A server that answers.

    Attributes:
        url: `https://ADDRESS:PORT`.
        ca_file: The authority that signed its certificate.
        kubeconfig: A file with all that a client needs.
        registry: The objects, for users in the same process.
    """

    def __init__(
        self, config: ServerConfig, url: str, ca_file: Path, registry: Registry, committer: Committer
    ) -> None:
        self.url = url
        self.ca_file = ca_file
        self.kubeconfig = config.directory / "kubeconfig"
        self.registry = registry
        self._directory = config.directory
        self._committer = committer
        self.tokens = {ensure_token(config.directory)}
        self._write_kubeconfig()

    @property
    def token(self) -> str:
        """The token that lets in."""
        return next(iter(self.tokens))

    def rotate_token(self) -> str:
        """Let a new token in and the old one no more; return the new one."""
        write_private(self._directory / "token", secrets.token_urlsafe(32).encode())
        self.tokens.clear()
        self.tokens.add(ensure_token(self._directory))
        self._write_kubeconfig()
        return self.token

    async def compact(self) -> None:
        """Forget the whole history now: watches that are behind, and lists under way, end with 410."""
        state = self.registry.state
        await self._committer.compact(state.revision)

    def _write_kubeconfig(self) -> None:
        content = render_kubeconfig(self.url, self.ca_file.read_bytes(), self.token)
        write_private(self.kubeconfig, content.encode())


class _HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers, for the program around it has its own; `ready` once it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@asynccontextmanager
async def serve(config: ServerConfig) -> AsyncIterator[RunningServer]:
    """Run a server for as long as the context lasts.

    Raises:
        StoreError: the store can't be used.
        SetupError: the address can't be listened on, or the directory can't be written.
        ConfigError: the store's URL is wrong.
    """
    with _directory_errors(config.directory):
        config.directory.mkdir(parents=True, exist_ok=True)
    listener = _listen(config.listen)
    try:
        store = await asyncio.to_thread(open_store, config.store, config.directory)
    except BaseException:
        listener.close()
        raise
    try:
        async with _running(config, store, listener) as server:
            yield server
    finally:
        listener.close()
        store.close()


@asynccontextmanager
async def _running(
    config: ServerConfig, store: Store, listener: socket.socket
) -> AsyncIterator[RunningServer]:
    state = State(await asyncio.to_thread(store.load))
    addresses = ServiceAddresses(config.ranges)
    for item in state.history(SERVICES).items():
        addresses.load(item)
    observers: list[Observer] = [_service_observer(addresses)]
    committer = Committer(store, state, observers)
    registry = Registry(state, committer, addresses)
    controllers = None if config.controllers is None else Controllers(config.controllers, registry)
    if controllers is not None:
        controllers.load()
        observers.append(controllers.observe)
    host, port = listener.getsockname()[:2]
    advertised = config.advertise or host
    url = f"https://{f'[{advertised}]' if ':' in advertised else advertised}:{port}"
    with _directory_errors(config.directory):
        files = ensure_certificates(
            config.directory, [advertised, "127.0.0.1", "::1", config.ranges.server_address]
        )
        server = RunningServer(config, url, files.ca, registry, committer)
    api = ApiServer(
        registry, tokens=server.tokens, address=url.removeprefix("https://"), settings=config.watch
    )
    asyncio.sslproto.SSLProtocol.max_size = _TLS_BUFFER_BYTES
    http = _HttpServer(
        uvicorn.Config(
            api.app,
            ssl_certfile=files.certificate,
            ssl_keyfile=files.key,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            http="h11",
            timeout_graceful_shutdown=_SHUTDOWN_LIMIT_S,
        )
    )
    async with asyncio.TaskGroup() as tasks:
        background = [tasks.create_task(committer.run())]
        background.append(tasks.create_task(compact_regularly(committer, state, config.compaction)))
        first_objects = FirstObjects(registry, config.ranges, advertised, port)
        await first_objects.ensure()
        observers.append(first_objects.observe)
        background.append(tasks.create_task(first_objects.run()))
        serving = tasks.create_task(http.serve([listener]))
        if controllers is not None:
            background.append(tasks.create_task(controllers.run()))
        await http.ready.wait()
        log.info("serving url=%s objects revision=%d", url, state.revision)
        try:
            yield server
        finally:
            # Watches end first, so that no answer is left open; the writer last, when nobody asks any more.
            state.close()
            http.should_exit = True
            await serving
            for task in background:
                task.cancel()


def _service_observer(addresses: ServiceAddresses) -> Observer:
    def observe(resource: Resource, event: Event) -> None:
        if resource is SERVICES:
            addresses.observe(event)

    return observe


@contextlib.contextmanager
def _directory_errors(directory: Path) -> Generator[None, None, None]:
    try:
        yield
    except OSError as exc:
        raise SetupError(
            f"{exc.filename or directory}: expected a directory to write to: {exc.strerror or exc}"
        ) from exc


def _listen(address: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    # asyncio turns Nagle's algorithm off for sockets that say they are TCP; a default of 0 does not, and each
    # event of a watch would wait for the acknowledgement of the last one, up to 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(512)
    except OSError as exc:
        listener.close()
        raise SetupError(f"{address[0]}:{address[1]}: {exc.strerror or exc}") from exc
    return listener


async def run_server(config: ServerConfig) -> None:
    """Serve until cancelled; say when it is ready.

    Raises:
        StoreError, SetupError, ConfigError: as `serve`.
    """
    async with serve(config) as server:
        log.info("kubeconfig=%s", server.kubeconfig)
        notify("READY=1")
        await asyncio.Event().wait()
