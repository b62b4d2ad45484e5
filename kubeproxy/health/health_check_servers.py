"""The servers that load balancers ask about Services: one for each health check and address of the node."""

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Mapping

from kubeproxy.health.service_health import CheckKey, HealthCheck
from kubeproxy.rules.addresses import Address
from nodeplane.datapath.nft.expr import Family
from nodeplane.errors import KernelError
from nodeplane.runtime.http import Response, serve
from nodeplane.runtime.listen import ListenAddress, open_family_listener

_RETRY_S = 5.0
_EVERYWHERE: dict[Family, str] = {"ip": "0.0.0.0", "ip6": "::"}  # noqa: S104

log = logging.getLogger(__name__)

Place = tuple[CheckKey, ListenAddress]

Refused = Callable[[CheckKey, int, str], None]
"""Is told, once for each address, of a check whose port can't be listened on, and why."""


class HealthCheckServers:
    """Keeps listening where it should; `is_healthy` says whether the proxy is.

    An address that can't be listened on (taken, or not yet this node's) is tried again every few seconds, and
    `refused` is told.
    """

    def __init__(self, is_healthy: Callable[[], bool], refused: Refused | None = None) -> None:
        self._is_healthy = is_healthy
        self._tell_refused = refused
        self._checks: Mapping[CheckKey, HealthCheck] = {}
        self._wanted: frozenset[Place] = frozenset()
        self._servers: dict[Place, asyncio.Task[None]] = {}
        self._refused: set[Place] = set()
        self._changed = asyncio.Event()

    def update(
        self,
        checks: Mapping[CheckKey, HealthCheck],
        addresses: Mapping[Family, Collection[Address] | None],
    ) -> None:
        """Put health checks, and the node's addresses (None: all) in place of those before."""
        self._checks = dict(checks)
        self._wanted = frozenset(
            (key, ListenAddress(host, check.port))
            for key, check in checks.items()
            for host in _hosts(key[2], addresses[key[2]])
        )
        self._changed.set()

    async def run(self) -> None:
        """Serve for as long as the task lives."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._changed.clear()
                await self._stop(self._servers.keys() - self._wanted)
                for place in self._wanted - self._servers.keys():
                    self._start(place, tasks)
                self._refused &= self._wanted
                try:
                    async with asyncio.timeout(_RETRY_S if self._refused else None):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    async def _stop(self, places: Collection[Place]) -> None:
        ending = [self._servers.pop(place) for place in tuple(places)]
        for task in ending:
            task.cancel()
        # A port is free once its server has ended.
        await asyncio.gather(*ending, return_exceptions=True)

    def _start(self, place: Place, tasks: asyncio.TaskGroup) -> None:
        key, address = place
        try:
            listener = open_family_listener(address)
        except KernelError as exc:
            if place not in self._refused:
                # Upstream's word for it, of an event.
                log.error(
                    "FailedToStartServiceHealthcheck service=%s/%s address=%s error=%r",
                    *key[:2],
                    address,
                    str(exc),
                )
                if self._tell_refused is not None:
                    self._tell_refused(key, address.port, str(exc))
            self._refused.add(place)
            return
        self._refused.discard(place)
        self._servers[place] = tasks.create_task(serve(listener, lambda _: self._answer(key)))
        log.info("health check of a service service=%s/%s address=%s", *key[:2], address)

    def _answer(self, key: CheckKey) -> Response:
        check = self._checks.get(key)
        if check is None:
            return Response(b"404 page not found\n", 404)
        return show_health_check(key, check, is_proxy_healthy=self._is_healthy())


def show_health_check(key: CheckKey, check: HealthCheck, *, is_proxy_healthy: bool) -> Response:
    """Answer a load balancer; headers and body are upstream's, which load balancers read."""
    namespace, name, _ = key
    body = {
        "service": {"namespace": namespace, "name": name},
        "localEndpoints": check.local_endpoints,
        "serviceProxyHealthy": is_proxy_healthy,
    }
    return Response(
        json.dumps(body).encode(),
        200 if check.local_endpoints and is_proxy_healthy else 503,
        "application/json",
        (
            ("X-Content-Type-Options", "nosniff"),
            ("X-Load-Balancing-Endpoint-Weight", str(check.local_endpoints)),
        ),
    )


def _hosts(family: Family, addresses: Collection[Address] | None) -> list[str]:
    return [_EVERYWHERE[family]] if addresses is None else [str(address) for address in addresses]
