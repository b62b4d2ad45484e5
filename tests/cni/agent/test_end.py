"""An agent that is told to end does so, whatever of it waits for a datastore that does not answer."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cni.agent import daemon, pod_link_keeper
from cni.agent.agent import Agent
from cni.agent.collector import Collector, keep_collecting
from cni.agent.pod_link_keeper import PodLinkKeeper
from cni.agent.pod_links import PodLink
from cni.routing.tunnels import TunnelPlan
from nodeplane.datapath.rtnl.fake import FakeRtnl
from nodeplane.datapath.sysctl import FakeSysctls
from nodeplane.etcd.client import PATIENCE_S

LIMIT_S = 60

Begin = Callable[[str], Coroutine[Any, Any, None]]


async def collect(url: str) -> None:
    await keep_collecting(Collector("n1", url, 300), lambda: None, 1000, lambda _: None)


async def keep_tunnels(url: str) -> None:
    due = asyncio.Event()
    due.set()
    router = SimpleNamespace(plan_tunnels=lambda: TunnelPlan(release=("a",)), labels={})
    await daemon._keep_tunnels(cast("Agent", SimpleNamespace(router=router, tunnels_due=due)), "n1", url)


async def keep_pod_links(url: str) -> None:
    ready = asyncio.Event()
    ready.set()
    await PodLinkKeeper(url, FakeSysctls({}), Path("/nowhere/lock")).run(ready)


@pytest.mark.parametrize("begin", [collect, keep_tunnels, keep_pod_links])
def test_the_end_waits_for_no_server(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    rtnl = FakeRtnl()
    monkeypatch.setattr(pod_link_keeper, "open_rtnl", lambda: nullcontext(rtnl))
    monkeypatch.setattr(pod_link_keeper, "read_links", lambda _: (PodLink(rtnl.link("lo")),))
    asked = asyncio.Event()

    def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        asked.set()

    async def end_it() -> float:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        task = asyncio.ensure_future(begin(f"etcd://127.0.0.1:{port}/np"))
        await asyncio.wait_for(asked.wait(), LIMIT_S)
        server.close()
        started_s = loop.time()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return loop.time() - started_s

    assert asyncio.run(end_it()) < PATIENCE_S / 2
