"""A node's BGP: what is known of the cluster, and the bird that is kept in step with it.

    Nodes, pools, borrowed addresses ─┐
    Services, EndpointSlices ─────────┼─► plan ─► bird.conf ─► bird: check, configure
    password files ───────────────────┘

Nothing is written before nodes, pools and addresses are known, and Services if any are announced. A
configuration that bird refuses leaves the last one in force.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path

from cni.bgp.bird import CONFIG_NAME, Bird, RefusedError
from cni.bgp.config import BgpConfig
from cni.bgp.control import BirdError
from cni.bgp.metrics import BgpMetrics
from cni.bgp.password_failures import read_password_failures
from cni.bgp.plan import Cluster, build_plan
from cni.bgp.render import kernel_protocol, read_router_id, render_plan
from cni.bgp.service_routes import ServiceRoutes
from cni.bgp.state import COMMANDS, Session, parse_sessions
from cni.bgp.wiped_routes import WipedRoutes
from ipam.model import Network, Pool
from nodeplane.datapath.rtnl.monitor import Event
from nodeplane.errors import ConfigError
from nodeplane.kube.objects import EndpointSlice, Node, Service
from nodeplane.kube.source import Batch, Source
from nodeplane.reconcile.runner import Runner

log = logging.getLogger(__name__)

# Endpoints that come and go by the dozen are one configuration. A change after a quiet moment does not wait.
_MIN_INTERVAL_S = 0.1
# Passwords are read again.
_RESYNC_INTERVAL_S = 60.0
_STATE_INTERVAL_S = 5.0
# Bounds a fight with somebody who deletes bird's routes as fast as it writes them.
_REPAIR_INTERVAL_S = 0.2
_RECOVERY_POLL_S = 0.1
# TCP_MD5SIG_MAXKEYLEN (linux/tcp.h); RFC 2385 names the same.
_MOST_PASSWORD_BYTES = 80


class Speaker:
    """What BGP has to know, and the sync that it leads to."""

    def __init__(
        self, node_name: str, config: BgpConfig, metrics: BgpMetrics, on_ready: Callable[[], None]
    ) -> None:
        """Take the configuration.

        Raises:
            ConfigError: a password file can't be used.
            SetupError: there is no bird on this machine.
        """
        self._node_name = node_name
        self._config = config
        self._metrics = metrics
        self._on_ready = on_ready
        self._runner = Runner(
            self._sync, min_interval_s=_MIN_INTERVAL_S, resync_interval_s=_RESYNC_INTERVAL_S
        )
        self._repairs = Runner(self._repair, min_interval_s=_REPAIR_INTERVAL_S, resync_interval_s=None)
        self._wiped = WipedRoutes()
        self._hurt: frozenset[int] = frozenset()
        self._bird = Bird(config, self._take_bird, metrics.count_end)
        self._services = ServiceRoutes(node_name, config.services)
        self._nodes: Mapping[str, Node] | None = None
        self._pools: tuple[Pool, ...] | None = None
        self._announced: frozenset[Network] | None = None
        self._in_force: str | None = None
        self._refused: str | None = None
        self._wrong: frozenset[str] = frozenset()
        self._passwords = read_passwords(config)
        self._missing: frozenset[str] = frozenset()
        self._router_id = _read_router_id(config.directory / CONFIG_NAME)
        self._is_configured = asyncio.Event()
        self._states: dict[str, str] = {}
        self._password_failures = read_password_failures()

    def take_nodes(self, batch: Batch) -> None:
        """Take the snapshot of all nodes in, then changes; other kinds are not looked at."""
        nodes = dict(self._nodes or {})
        for change in batch:
            if isinstance(change.new, Node):
                nodes[change.key.name] = change.new
            elif change.key.kind is Node:
                nodes.pop(change.key.name, None)
        self._nodes = nodes
        self._trigger()

    def take_pools(self, pools: Iterable[Pool]) -> None:
        """Take all pools in."""
        self._pools = tuple(pools)
        self._trigger()

    def take_announced(self, networks: Iterable[Network]) -> None:
        """Take in this node's blocks of BGP's pools, and the addresses that it borrows from others'."""
        self._announced = frozenset(networks)
        self._trigger()

    def take_event(self, event: Event) -> None:
        """Take the kernel's word that something changed."""
        hurt = self._wiped.find(event)
        if hurt:
            self._hurt |= hurt
            self._repairs.trigger()

    async def run(self, source: Source | None) -> None:
        """Keep bird in step for as long as the task lives.

        Raises:
            ConfigError: the first snapshot of the Services can't be had.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._runner.run())
            tasks.create_task(self._repairs.run())
            tasks.create_task(self._bird.run())
            tasks.create_task(self._keep_reading_states())
            tasks.create_task(self._tell_ready())
            if source is not None and self._config.services.all:
                tasks.create_task(self._follow_services(source))
            else:
                self._services.apply(())
                self._trigger()

    async def _follow_services(self, source: Source) -> None:
        async for batch in source.batches({Service, EndpointSlice}):
            if self._services.apply(batch):
                self._trigger()

    def _take_bird(self) -> None:
        self._in_force = None
        self._trigger()

    def _trigger(self) -> None:
        # Before all are complete, what is missing would be taken for what is gone.
        known = (self._nodes, self._pools, self._announced)
        if self._services.is_complete and all(item is not None for item in known):
            self._runner.trigger()

    async def _sync(self, full: bool) -> None:
        cluster = Cluster(
            nodes=tuple((self._nodes or {}).values()),
            pools=self._pools or (),
            announced=self._announced or frozenset(),
            local_services=self._services.local,
            router_id=self._router_id,
        )
        plan, wrong = build_plan(self._config, self._node_name, cluster)
        self._warn(wrong)
        if plan is None:
            return
        self._read_passwords()
        text = render_plan(plan, self._passwords, self._bird.log_file)
        if text in {self._in_force, self._refused}:
            return
        try:
            await self._bird.configure(text)
        except RefusedError as exc:
            self._refused = text
            self._metrics.count_configuration(is_accepted=False)
            log.error("bgp configuration refused, the last one stays in force error=%r", str(exc))
            return
        self._refused = None
        self._router_id = plan.own.router_id
        self._metrics.count_configuration(is_accepted=True)
        if self._bird.is_running:
            self._in_force = text
            self._is_configured.set()
        log.info(
            "bgp configured full=%s sessions=%d pools=%d services=%d borrowed=%d",
            full, len(plan.neighbors), len(plan.pools), len(plan.services), len(plan.borrowed),
        )  # fmt: skip

    async def _repair(self, full: bool) -> None:
        """Have bird look at its routes; what others have deleted it writes again."""
        del full
        hurt, self._hurt = self._hurt, frozenset()
        with suppress(BirdError):
            for version in sorted(hurt):
                await self._bird.ask(f"reload in {kernel_protocol(version)}")

    def _warn(self, wrong: Sequence[str]) -> None:
        for reason in sorted(set(wrong) - self._wrong):
            log.warning("part of a node's word ignored error=%r", reason)
        self._wrong = frozenset(wrong)

    def _read_passwords(self) -> None:
        """Read the password files; one that can't be used leaves its peer's last password in force."""
        found, missing = _try_passwords(self._config)
        self._passwords |= found
        for reason in sorted(missing - self._missing):
            log.warning("password file not read, the last password stays in force error=%r", reason)
        self._missing = missing

    async def _tell_ready(self) -> None:
        """Tell once that bird has its configuration, and its neighbours' routes if it had some before.

        Who goes from node to node may go on then: two birds that recover at once may lose packets.
        """
        await self._is_configured.wait()
        while True:
            with suppress(BirdError):
                if not await self._bird.is_recovering():
                    self._on_ready()
                    return
            await asyncio.sleep(_RECOVERY_POLL_S)

    async def _keep_reading_states(self) -> None:
        while True:
            with suppress(BirdError):
                sessions = parse_sessions([await self._bird.ask(command) for command in COMMANDS])
                self._metrics.take_sessions(sessions)
                self._log_states(sessions)
                self._warn_of_passwords(sessions)
            await asyncio.sleep(_STATE_INTERVAL_S)

    def _warn_of_passwords(self, sessions: Sequence[Session]) -> None:
        before, self._password_failures = self._password_failures, read_password_failures()
        down = sorted({session.name for session in sessions if not session.is_up})
        if down and self._password_failures > before:
            log.warning(
                "bgp segments with a wrong or missing password, sessions are down count=%d peers=%s",
                self._password_failures - before, ",".join(down),
            )  # fmt: skip

    def _log_states(self, sessions: Sequence[Session]) -> None:
        for session in sessions:
            was_up = self._states.get(session.protocol) == "up"
            if session.is_up != was_up:
                log.info(
                    "bgp session %s peer=%s address=%s error=%r",
                    "up" if session.is_up else "down", session.name, session.address, session.last_error,
                )  # fmt: skip
        self._states = {session.protocol: "up" if session.is_up else "down" for session in sessions}


def read_passwords(config: BgpConfig) -> dict[Path, str]:
    """Read all password files.

    Raises:
        ConfigError: one can't be read, or holds what can't be a password.
    """
    return {path: _read_password(path) for path in _password_files(config)}


def _try_passwords(config: BgpConfig) -> tuple[dict[Path, str], frozenset[str]]:
    """Return what can be read, and what is wrong with the rest."""
    found: dict[Path, str] = {}
    wrong: set[str] = set()
    for path in _password_files(config):
        try:
            found[path] = _read_password(path)
        except ConfigError as exc:
            wrong.add(str(exc))
    return found, frozenset(wrong)


def _password_files(config: BgpConfig) -> set[Path]:
    files = {timers.password_file for timers in (config.nodes, *(peer.timers for peer in config.peers))}
    return {path for path in files if path is not None}


def _read_password(path: Path) -> str:
    try:
        text = path.read_text().rstrip("\n")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not UTF-8"
        raise ConfigError(str(path), "", f"expected a readable password file: {reason}") from exc
    # bird has no escapes in its strings.
    if not 1 <= len(text.encode()) <= _MOST_PASSWORD_BYTES or not text.isprintable() or '"' in text:
        expected = f'expected a password of 1 to {_MOST_PASSWORD_BYTES} bytes in one line, without "'
        raise ConfigError(str(path), "", expected)
    return text


def _read_router_id(path: Path) -> IPv4Address | None:
    """Return what an earlier agent has called this node, as long as that is known."""
    with suppress(OSError, ValueError):
        return read_router_id(path.read_text())
    return None
