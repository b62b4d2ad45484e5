"""Connections to upstreams: TCP and TLS, kept and closed."""

import asyncio
from pathlib import Path

import dns.message
import pytest

from coredns_lite.plugins.forward.upstream import Timing
from nodeplane.errors import ConfigError
from tests.coredns_lite.plugins.forward.forwarders import PATIENT, A, count, forwarder
from tests.coredns_lite.upstreams import LIMIT_S, TCP, UDP, Upstream, always, ask, data, eventually
from tests.kube.certificates import Authority

ANSWER = ["NOERROR", "a.example. 300 IN A 10.1.2.3"]
BRIEF = Timing(LIMIT_S, LIMIT_S, LIMIT_S, 0.3)


def test_a_connection_serves_again() -> None:
    async def scenario() -> None:
        async with Upstream(always(A)) as upstream:
            asking, query = forwarder("", upstream), ask("a.example")
            for _ in range(5):
                assert data(query, await asking.ask(query, TCP)) == ANSWER

            assert upstream.connections == 1
            labels = {"proxy_name": "forward", "to": f"127.0.0.1:{upstream.port}", "proto": "tcp"}
            assert count("coredns_proxy_conn_cache_hits_total", **labels) == 4
            assert count("coredns_proxy_conn_cache_misses_total", **labels) == 1

    asyncio.run(scenario())


def test_several_queries_have_several_connections() -> None:
    async def scenario() -> None:
        async with Upstream(always(A)) as upstream:
            go = asyncio.Event()
            upstream.gate = go.wait
            asking, query = forwarder("", upstream), ask("a.example")
            async with asyncio.TaskGroup() as tasks:
                waiting = [tasks.create_task(asking.ask(query, TCP)) for _ in range(3)]
                await eventually(lambda: len(upstream.asked) == 3)
                go.set()

            assert [data(query, task.result()) for task in waiting] == [ANSWER] * 3
            assert upstream.connections == 3

    asyncio.run(scenario())


def test_a_connection_that_the_upstream_closed_is_no_failure() -> None:
    async def scenario() -> None:
        async with Upstream(always(A)) as upstream:
            asking, query = forwarder("", upstream), ask("a.example")
            for connections in (1, 2, 3):
                assert data(query, await asking.ask(query, TCP)) == ANSWER
                assert upstream.connections == connections
                upstream.drop()
            assert not asking.upstreams[0].failed_probes

    asyncio.run(scenario())


def test_a_connection_that_is_closed_when_it_is_used_again_is_no_failure() -> None:
    """The query goes over a new connection at once, and nobody thinks the upstream ill."""

    async def scenario() -> None:
        async with Upstream(always(A)) as upstream:
            answer = upstream.script

            def script(query: dns.message.Message, protocol: str) -> bytes | None:
                if len(upstream.asked) != 2:
                    return answer(query, protocol)
                upstream.drop()
                return None

            upstream.script = script
            asking, query = forwarder("", upstream), ask("a.example")
            for _ in range(2):
                assert data(query, await asking.ask(query, TCP)) == ANSWER

            assert (upstream.names, upstream.connections) == (["a.example."] * 3, 2)

    asyncio.run(scenario())


def test_idle_connections_expire() -> None:
    async def scenario() -> None:
        async with Upstream(always(A)) as upstream:
            asking, query = forwarder("expire 50ms", upstream), ask("a.example")
            assert data(query, await asking.ask(query, TCP)) == ANSWER
            assert upstream.open_connections == 1
            await eventually(lambda: not upstream.open_connections)
            assert data(query, await asking.ask(query, TCP)) == ANSWER

            assert upstream.connections == 2

    asyncio.run(scenario())


def test_closing_ends_what_is_idle() -> None:
    async def scenario() -> None:
        async with Upstream(always(A)) as upstream:
            asking, query = forwarder("", upstream), ask("a.example")
            await asking.ask(query, TCP)
            asking.upstreams[0].close()
            await eventually(lambda: not upstream.open_connections)

            # A query that was on its way at a reload still gets its answer.
            assert data(query, await asking.ask(query, TCP)) == ANSWER
            await eventually(lambda: not upstream.open_connections)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("hosts", "options", "target", "is_trusted"),
    [
        pytest.param(("127.0.0.1",), "tls {ca}", "", True, id="by its address"),
        pytest.param(("dns.example",), "tls {ca}\ntls_servername dns.example", "", True, id="by its name"),
        pytest.param(("dns.example",), "tls {ca}", "%dns.example", True, id="by the upstream's own name"),
        pytest.param(("127.0.0.1",), "tls {ca}\ntls_servername dns.example", "", False, id="another name"),
        pytest.param(("dns.example",), "tls {ca}", "", False, id="another address"),
        pytest.param(("127.0.0.1",), "tls", "", False, id="an unknown authority"),
        pytest.param(("127.0.0.1",), "tls {cert} {key} {ca}", "", True, id="a client certificate"),
    ],
)
def test_tls(hosts: tuple[str, ...], options: str, target: str, is_trusted: bool, tmp_path: Path) -> None:
    """UDP clients too are served over TLS; a certificate that is not right is a failure."""
    authority = Authority()
    files = {name: tmp_path / name for name in ("ca", "cert", "key")}
    files["ca"].write_bytes(authority.pem)
    certificate, key = authority.issue("client")
    files["cert"].write_bytes(certificate)
    files["key"].write_bytes(key)
    context = authority.server_context(tmp_path, hosts, asks_clients="{cert}" in options)

    async def scenario() -> None:
        async with Upstream(always(A), context=context, udp=False) as upstream:
            upstream.target = f"tls://127.0.0.1{target}:{upstream.port}"
            timing = PATIENT if is_trusted else BRIEF
            asking = forwarder(f"{options.format(**files)}\nmax_fails 0", upstream, timing=timing)
            query = ask("a.example")
            answers = [await asking.ask(query, client) for client in (UDP, TCP)]

            if is_trusted:
                assert [data(query, answer) for answer in answers] == [ANSWER, ANSWER]
                assert (upstream.connections, upstream.asked[0][0]) == (1, "tls")
            else:
                assert [data(query, answer) for answer in answers] == [["SERVFAIL"]] * 2
                assert "certificate verify failed" in answers[0].error
                assert not upstream.asked

    asyncio.run(scenario())


def test_a_file_for_tls_that_is_none(tmp_path: Path) -> None:
    upstream = Upstream(always(A))
    upstream.port = 853
    with pytest.raises(ConfigError, match=r"^Corefile:3: /nowhere: expected a readable file in PEM: "):
        forwarder("tls /nowhere", upstream)
