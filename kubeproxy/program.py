"""What `kubeproxy run` consists of: the daemon, two servers, and the watch over the configuration file."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from kubeproxy.config.model import KubeProxyConfiguration
from kubeproxy.config.settings import Settings
from kubeproxy.daemon import BuildProxier, Daemon, RestartNeeded
from kubeproxy.events import nobody, starting
from kubeproxy.health.proxy_health import ProxyHealth
from kubeproxy.metrics import Metrics
from kubeproxy.pages import build_health_pages, build_metrics_pages
from kubeproxy.rules.addresses import FAMILIES
from nodeplane.datapath.local_addresses import LocalAddresses
from nodeplane.datapath.nft.monitor import TableWatch
from nodeplane.file_watch import FileWatch
from nodeplane.kube.source import Source
from nodeplane.runtime.http import keep_serving, route

if TYPE_CHECKING:
    # An HTTP client costs 100 ms, which a user of manifests need not pay.
    from nodeplane.kube.event_writer import EventWriter

log = logging.getLogger(__name__)


class Setup(msgspec.Struct, frozen=True):
    """What the command line and the file say.

    Attributes:
        flags: What was typed, for `/flagz`.
        watch: The file to watch, if there is one.
    """

    node_name: str
    config: KubeProxyConfiguration
    settings: Settings
    flags: Mapping[str, str]
    watch: FileWatch[KubeProxyConfiguration] | None = None


async def run_program(
    setup: Setup,
    build_proxier: BuildProxier,
    source: Source,
    addresses: LocalAddresses,
    open_watch: Callable[[], TableWatch],
    *,
    events: "EventWriter | None" = None,
    is_ipvs: bool = False,
) -> None:
    """Run until something calls for a restart; the rules stay in force."""
    settings = setup.settings
    metrics = Metrics()
    health = ProxyHealth(FAMILIES, limit_s=2 * settings.sync_period_s)
    daemon = Daemon(
        setup.node_name,
        build_proxier,
        settings,
        addresses=addresses,
        open_watch=open_watch,
        metrics=metrics,
        health=health,
        tell=events.tell if events else nobody,
        is_ipvs=is_ipvs,
    )
    # What `auto` has come to.
    config = msgspec.structs.replace(setup.config, mode="ipvs" if is_ipvs else "nftables")
    pages = (
        (settings.healthz, build_health_pages(health, metrics)),
        (settings.metrics, build_metrics_pages(health, metrics, config, setup.flags)),
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            for address, handlers in pages:
                if address is not None:
                    tasks.create_task(
                        keep_serving(address, route(handlers), must_listen=settings.must_listen)
                    )
            if setup.watch is not None:
                tasks.create_task(_restart_after(setup.watch.until_changed()))
            if events is not None:
                events.tell(starting(setup.node_name))
                tasks.create_task(events.run())
            tasks.create_task(daemon.run(source))
    except* RestartNeeded as group:
        log.info("ending, to be started again reason=%r", _reason(group))


async def _restart_after(change: Awaitable[object]) -> None:
    await change
    raise RestartNeeded("the configuration file has changed")


def _reason(group: BaseExceptionGroup[RestartNeeded]) -> str:
    first = group.exceptions[0]
    return _reason(first) if isinstance(first, BaseExceptionGroup) else str(first)
