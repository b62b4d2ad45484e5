"""The lab's nodes on a server that wants to hear of them."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from netns_lab.apiserver.resources import NODES
from netns_lab.apiserver.serve import ServerConfig, serve
from netns_lab.cluster import MANAGER, READY
from netns_lab.heartbeat import beat, build_heartbeat
from nodeplane.kube.connection import Connection
from nodeplane.kube.objects import Node, ObjectKey
from nodeplane.kube.writer import Json, Writer

N2 = ObjectKey(Node, "", "n2")


def test_build_heartbeat() -> None:
    status = build_heartbeat("n1", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))["status"]

    assert status == {"conditions": [{**READY, "lastHeartbeatTime": "2026-01-02T03:04:05Z"}]}


def test_beat(tmp_path: Path) -> None:
    """A node that is there is alive, whatever became of another; what `up` writes leaves the time alone."""
    head = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2"}}
    unknown = {**READY, "status": "Unknown"}

    async def scenario() -> Json:
        async with serve(ServerConfig(tmp_path, store="memory://")) as server:
            connection = Connection.from_kubeconfig(server.kubeconfig, is_direct=True)
            async with await connection.open() as client, asyncio.timeout(60):
                writer = Writer(client, MANAGER)
                await writer.apply(N2, head)
                await writer.apply(N2, {**head, "status": {"conditions": [unknown]}}, "status")
                task = asyncio.create_task(beat(connection, ["n1", "n2"]))
                while b"lastHeartbeatTime" not in server.registry.get(NODES, "", "n2").body:
                    await asyncio.sleep(0.01)
                task.cancel()
                await writer.apply(N2, {**head, "status": {"conditions": [READY]}}, "status")
                return (await writer.read(Node))[0]

    condition = asyncio.run(scenario())["status"]["conditions"][0]
    assert condition.pop("lastHeartbeatTime")
    assert condition == READY
