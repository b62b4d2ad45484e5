"""The servers of health checks, asked over real connections in a namespace."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from ipaddress import ip_address

import pytest

from kubeproxy.events import refused_health_check
from kubeproxy.health.health_check_servers import HealthCheckServers, Refused, show_health_check
from kubeproxy.health.service_health import CheckKey, HealthCheck
from kubeproxy.rules.addresses import Address
from nodeplane.datapath import netns
from nodeplane.datapath.nft.expr import Family
from nodeplane.kube.event import EventAbout
from tests.netns_fixture import namespace, run_in

WEB: CheckKey = ("default", "web", "ip")
WEB6: CheckKey = ("default", "web", "ip6")
DB: CheckKey = ("default", "db", "ip")
Addresses = dict[Family, Collection[Address] | None]
EVERYWHERE: Addresses = {"ip": None, "ip6": None}
AT: Addresses = {"ip": {ip_address("192.0.2.1")}, "ip6": {ip_address("2001:db8::1")}}


async def ask(host: str, port: int) -> str:
    """Return the status line, or what came of the connection."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        status = (await reader.readline()).decode().strip()
        writer.close()
    except OSError:
        # Also a reset: the server ended while we came.
        return "refused"
    return status.removeprefix("HTTP/1.1 ")


async def until(host: str, port: int, expected: str) -> None:
    async with asyncio.timeout(30):
        while await ask(host, port) != expected:
            await asyncio.sleep(0.005)


def with_servers(
    scenario: Callable[[HealthCheckServers], Awaitable[None]], *addresses: str, refused: Refused | None = None
) -> None:
    async def main() -> None:
        servers = HealthCheckServers(lambda: True, refused)
        task = asyncio.create_task(servers.run())
        try:
            await scenario(servers)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    with namespace() as ns:
        for address in addresses:
            length = 128 if ":" in address else 32
            assert run_in(ns, "ip", "address", "add", f"{address}/{length}", "dev", "lo").returncode == 0
        with netns.inside(ns):
            asyncio.run(main())


@pytest.mark.netns
def test_come_and_go() -> None:
    """A check listens as long as it is wanted; counts change without a new server."""

    async def scenario(servers: HealthCheckServers) -> None:
        servers.update({WEB: HealthCheck(31000, 1), DB: HealthCheck(31001, 0)}, EVERYWHERE)
        await until("127.0.0.1", 31000, "200 OK")
        await until("127.0.0.1", 31001, "503 Service Unavailable")
        servers.update({WEB: HealthCheck(31000, 0)}, EVERYWHERE)
        await until("127.0.0.1", 31001, "refused")
        assert await ask("127.0.0.1", 31000) == "503 Service Unavailable"
        servers.update({WEB: HealthCheck(31002, 1)}, EVERYWHERE)
        await until("127.0.0.1", 31002, "200 OK")
        assert await ask("127.0.0.1", 31000) == "refused"

    with_servers(scenario)


@pytest.mark.netns
def test_families_count_for_themselves() -> None:
    """Everywhere is one socket for each family, which answers for its own endpoints."""

    async def scenario(servers: HealthCheckServers) -> None:
        servers.update({WEB: HealthCheck(31000, 1), WEB6: HealthCheck(31000, 0)}, EVERYWHERE)
        await until("127.0.0.1", 31000, "200 OK")
        await until("::1", 31000, "503 Service Unavailable")

    with_servers(scenario)


@pytest.mark.netns
def test_only_on_chosen_addresses() -> None:
    """Where nodePortAddresses chooses, nothing else listens; an address that comes is served."""

    async def scenario(servers: HealthCheckServers) -> None:
        checks = {WEB: HealthCheck(31000, 1), WEB6: HealthCheck(31000, 1)}
        servers.update(checks, {"ip": set(), "ip6": AT["ip6"]})
        await until("2001:db8::1", 31000, "200 OK")
        assert await ask("192.0.2.1", 31000) == "refused"
        servers.update(checks, AT)
        await until("192.0.2.1", 31000, "200 OK")
        assert await ask("127.0.0.1", 31000) == "refused"

    with_servers(scenario, "192.0.2.1", "2001:db8::1")


@pytest.mark.netns
def test_taken_port_is_tried_again(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that somebody holds is named once, by upstream's name for it, and served once it is free."""
    monkeypatch.setattr("kubeproxy.health.health_check_servers._RETRY_S", 0.01)

    async def scenario(servers: HealthCheckServers) -> None:
        taken = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 31000)
        servers.update({WEB: HealthCheck(31000, 1)}, EVERYWHERE)
        async with asyncio.timeout(30):
            while not caplog.messages:
                await asyncio.sleep(0.005)
        taken.close()
        await until("127.0.0.1", 31000, "200 OK")

    told: list[EventAbout] = []
    with caplog.at_level(logging.ERROR):
        with_servers(
            scenario,
            refused=lambda key, port, error: told.append(refused_health_check("n1", key, port, error)),
        )
    (event,) = told
    assert event == EventAbout(
        "Service", "default", "web", "Warning", "FailedToStartServiceHealthcheck", event.message
    )
    assert event.message.startswith('node n1 failed to start healthcheck "default/web" on port 31000: ')
    assert [message.partition(" ")[0] for message in caplog.messages] == ["FailedToStartServiceHealthcheck"]


@pytest.mark.parametrize(
    ("endpoints", "is_healthy", "status"), [(2, True, 200), (2, False, 503), (0, True, 503), (0, False, 503)]
)
def test_answer(endpoints: int, is_healthy: bool, status: int) -> None:
    """Headers and body are upstream's."""
    answer = show_health_check(WEB, HealthCheck(31000, endpoints), is_proxy_healthy=is_healthy)

    assert (answer.status, answer.content_type) == (status, "application/json")
    assert dict(answer.headers) == {
        "X-Content-Type-Options": "nosniff",
        "X-Load-Balancing-Endpoint-Weight": str(endpoints),
    }
    assert json.loads(answer.body) == {
        "service": {"namespace": "default", "name": "web"},
        "localEndpoints": endpoints,
        "serviceProxyHealthy": is_healthy,
    }
