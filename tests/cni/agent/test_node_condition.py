"""The condition NetworkUnavailable: what is written, and when it is not."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cni.agent.node_condition import NodeCondition, build_condition
from netns_lab.apiserver.serve import ServerConfig, serve
from nodeplane.kube.connection import Connection
from nodeplane.kube.objects import Metadata, Node, ObjectKey
from nodeplane.kube.source import Change
from nodeplane.kube.writer import Json, Writer

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TIME = "2026-01-02T03:04:05Z"
EARLIER = "2025-12-31T00:00:00Z"
OURS = {
    "type": "NetworkUnavailable",
    "status": "False",
    "reason": "NodeplaneIsUp",
    "message": "cni-agent has this node's routes in force",
}
READY = {"type": "Ready", "status": "True"}
N1 = ObjectKey(Node, "", "n1")
HEAD = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
LIMIT_S = 60.0


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param({}, {**OURS, "lastHeartbeatTime": TIME, "lastTransitionTime": TIME}, id="no status"),
        pytest.param(
            {"conditions": None},
            {**OURS, "lastHeartbeatTime": TIME, "lastTransitionTime": TIME},
            id="no conditions",
        ),
        pytest.param(
            {
                "conditions": [
                    READY,
                    {"type": "NetworkUnavailable", "status": "True", "lastTransitionTime": EARLIER},
                ]
            },
            {**OURS, "lastHeartbeatTime": TIME, "lastTransitionTime": TIME},
            id="a cloud's controller",
        ),
        pytest.param(
            {"conditions": [{**OURS, "reason": "CalicoIsUp", "lastTransitionTime": EARLIER}]},
            {**OURS, "lastHeartbeatTime": TIME, "lastTransitionTime": EARLIER},
            id="false already, for another reason",
        ),
        pytest.param({"conditions": [READY, {**OURS, "lastTransitionTime": EARLIER}]}, None, id="ours"),
    ],
)
def test_build_condition(status: Json, expected: Json | None) -> None:
    assert build_condition({**HEAD, "status": status}, NOW) == expected


def on_server(folder: Path, scenario: Callable[[NodeCondition, Writer], Awaitable[Any]]) -> Any:
    """Run a scenario with the condition's keeper and somebody else at a server."""

    async def main() -> Any:
        async with serve(ServerConfig(folder, store="memory://")) as server:
            connection = Connection.from_kubeconfig(server.kubeconfig, is_direct=True)
            condition = NodeCondition(connection, "n1")
            async with await connection.open() as client, asyncio.timeout(LIMIT_S):
                task = asyncio.create_task(condition.runner.run())
                try:
                    return await scenario(condition, Writer(client, "test"))
                finally:
                    task.cancel()

    return asyncio.run(main())


async def read(writer: Writer) -> list[Json]:
    node = await writer.get(N1)
    assert node is not None
    conditions: list[Json] = node.get("status", {}).get("conditions", [])
    return conditions


async def until_set(writer: Writer) -> Json:
    while True:
        for condition in await read(writer):
            if condition.items() >= OURS.items():
                return condition
        await asyncio.sleep(0.01)


def test_the_condition_is_set_and_kept(tmp_path: Path) -> None:
    """What a cloud's controller said is overruled, other conditions stay, and a node made anew gets it."""

    async def scenario(condition: NodeCondition, writer: Writer) -> None:
        said = {**OURS, "status": "True", "reason": "NoRouteCreated", "message": "x"}
        await writer.apply(N1, HEAD)
        await writer.apply(N1, {**HEAD, "status": {"conditions": [READY, said]}}, "status")
        condition.take_nodes((Change(N1, None, Node(Metadata("n1"))),))
        assert said.items() <= (await read(writer))[1].items()

        condition.begin()
        first = await until_set(writer)
        assert READY.items() <= (await read(writer))[0].items()

        node = await writer.get(N1)
        assert node is not None
        await writer.delete(N1, node["metadata"]["uid"])
        await writer.apply(N1, HEAD)
        condition.take_nodes((Change(N1, None, Node(Metadata("n1"))),))
        second = await until_set(writer)
        assert first["lastTransitionTime"] <= second["lastTransitionTime"]

    on_server(tmp_path, scenario)


def test_a_node_that_is_not_there_yet_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(condition: NodeCondition, writer: Writer) -> None:
        condition.begin()
        while "set NetworkUnavailable: Node/n1 is not there" not in caplog.text:
            await asyncio.sleep(0.01)
        await writer.apply(N1, HEAD)
        await until_set(writer)

    on_server(tmp_path, scenario)
