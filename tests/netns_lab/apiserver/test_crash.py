"""The server is killed while many write: what it has acknowledged is there, and watchers get on or are told.

The server is the real program, killed by SIGKILL; what it does not get to answer may be there or not.
"""

import asyncio
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import yaml

from tests.netns_lab.apiserver.etcd import etcd
from tests.netns_lab.apiserver.process import apiserver
from tests.netns_lab.apiserver.running import Client, config_map, run
from tests.ready_process import READY_WITHIN_S

MAPS = "/api/v1/namespaces/default/configmaps"
SERVICES = "/api/v1/namespaces/default/services"
WRITERS = 8
WRITES_BEFORE_THE_KILL = 200
CRASHES = 2


class Written(msgspec.Struct):
    """What one writer was told of its object; `trying` is the value that it has no answer for."""

    name: str
    value: int = 0
    revision: int = 0
    trying: int = 0


@pytest.fixture(params=["sqlite", "etcd"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with stores(request.param, tmp_path) as url:
        yield url


@contextmanager
def stores(kind: str, directory: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite://{directory}/state.sqlite"
        return
    with etcd(directory) as address:
        yield f"etcd://{address}/nodeplane"


def client(directory: Path) -> httpx2.AsyncClient:
    config = yaml.safe_load((directory / "kubeconfig").read_text())
    token = config["users"][0]["user"]["token"]
    return httpx2.AsyncClient(
        base_url=config["clusters"][0]["cluster"]["server"],
        verify=ssl.create_default_context(cafile=str(directory / "ca.crt")),
        headers={"authorization": f"Bearer {token}", "content-type": "application/merge-patch+json"},
        timeout=READY_WITHIN_S,
        trust_env=False,
    )


async def write_until_killed(
    http: httpx2.AsyncClient, written: Written, progress: "asyncio.Queue[int]"
) -> None:
    """Count up in one object, created by the first write; end when the server does."""
    while True:
        written.trying = written.value + 1
        metadata, data = {"name": written.name}, {"n": str(written.trying)}
        try:
            answer = await http.patch(f"{MAPS}/{written.name}", content=json.dumps({"data": data}))
            if answer.status_code == 404:
                content = json.dumps({"metadata": metadata, "data": data})
                headers = {"content-type": "application/json"}
                answer = await http.post(MAPS, content=content, headers=headers)
        except httpx2.TransportError:
            return
        assert answer.status_code in {200, 201}, answer.text
        written.value = written.trying
        written.revision = int(answer.json()["metadata"]["resourceVersion"])
        progress.put_nowait(written.revision)


async def write_and_kill(directory: Path, process: Any, all_written: list[Written]) -> None:
    progress: asyncio.Queue[int] = asyncio.Queue()
    async with client(directory) as http, asyncio.timeout(READY_WITHIN_S), asyncio.TaskGroup() as tasks:
        for written in all_written:
            tasks.create_task(write_until_killed(http, written, progress))
        for _ in range(WRITES_BEFORE_THE_KILL):
            await progress.get()
        # In the middle of what the others have under way.
        process.kill()
        process.wait(READY_WITHIN_S)


async def read_list(directory: Path) -> tuple[int, dict[str, tuple[int, int]]]:
    """Return the list's revision, and each object's revision and value."""
    async with client(directory) as http:
        listed = (await http.get(MAPS)).json()
    found = {
        item["metadata"]["name"]: (int(item["metadata"]["resourceVersion"]), int(item["data"]["n"]))
        for item in listed["items"]
    }
    return int(listed["metadata"]["resourceVersion"]), found


async def replay(directory: Path, revision: int, until: int) -> list[Any]:
    """Return the events after a revision, up to another."""
    query = f"watch=1&resourceVersion={revision}&allowWatchBookmarks=true"
    events = []
    async with (
        client(directory) as http,
        asyncio.timeout(READY_WITHIN_S),
        http.stream("GET", f"{MAPS}?{query}") as answer,
    ):
        async for line in answer.aiter_lines():
            event = json.loads(line)
            events.append(event)
            if event["type"] == "ERROR" or int(event["object"]["metadata"]["resourceVersion"]) >= until:
                break
    return events


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, store: str) -> None:
    """Nothing that was answered is lost or undone, revisions only grow, and a watch goes on where it was."""
    directory = tmp_path / "server"
    all_written = [Written(f"c{number}") for number in range(WRITERS)]
    reached = 0
    before: dict[str, tuple[int, int]] = {}
    for _ in range(CRASHES):
        with apiserver(directory, "--store", store) as process:
            reached, before = asyncio.run(read_list(directory))
            asyncio.run(write_and_kill(directory, process, all_written))
        with apiserver(directory, "--store", store):
            revision, found = asyncio.run(read_list(directory))
            events = asyncio.run(replay(directory, reached, max(entry[0] for entry in found.values())))

        for written in all_written:
            # The last write may have come through without its answer.
            assert found[written.name][1] in {written.value, written.trying}
            assert found[written.name][0] >= written.revision
            written.value = found[written.name][1]
        assert revision >= max(entry[0] for entry in found.values())
        revisions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
        assert revisions == sorted(set(revisions))
        assert reached < revisions[0]
        replayed = dict(before)
        for event in events:
            name, value = event["object"]["metadata"]["name"], int(event["object"]["data"]["n"])
            # One step at a time: no event is missing, and none is there twice.
            assert value == replayed.get(name, (0, 0))[1] + 1
            replayed[name] = (int(event["object"]["metadata"]["resourceVersion"]), value)
        assert replayed == found


async def create_services(directory: Path, process: Any, count: int) -> None:
    """Create Services with node ports, several at a time; kill the server when so many are there."""
    made: asyncio.Queue[str] = asyncio.Queue()
    spec = {"type": "NodePort", "ports": [{"port": 80}]}

    async def create() -> None:
        content = json.dumps({"metadata": {"generateName": "s-"}, "spec": spec})
        while True:
            try:
                answer = await http.post(
                    SERVICES, content=content, headers={"content-type": "application/json"}
                )
            except httpx2.TransportError:
                return
            assert answer.status_code == 201, answer.text
            made.put_nowait(answer.json()["metadata"]["name"])

    async with client(directory) as http, asyncio.timeout(READY_WITHIN_S), asyncio.TaskGroup() as tasks:
        for _ in range(WRITERS):
            tasks.create_task(create())
        for _ in range(count):
            await made.get()
        process.kill()
        process.wait(READY_WITHIN_S)


async def read_services(directory: Path) -> Any:
    async with client(directory) as http:
        return (await http.get(SERVICES)).json()["items"]


def test_an_address_that_was_given_before_a_kill_is_not_given_again(tmp_path: Path, store: str) -> None:
    directory = tmp_path / "server"
    # So few that the second half meets those of the first: 254 addresses, 120 ports.
    ranges = ("--service-cidr", "10.96.0.0/24", "--service-node-port-range", "30000-30119")
    for _ in range(2):
        with apiserver(directory, "--store", store, *ranges) as process:
            asyncio.run(create_services(directory, process, 40))
    with apiserver(directory, "--store", store, *ranges):
        services = asyncio.run(read_services(directory))

    addresses = [service["spec"]["clusterIP"] for service in services]
    ports = [
        port["nodePort"] for service in services for port in service["spec"]["ports"] if "nodePort" in port
    ]
    assert len(ports) >= 80
    assert (len(set(addresses)), len(set(ports))) == (len(addresses), len(ports))


def test_a_watcher_from_before_a_compaction_is_told_after_a_restart(tmp_path: Path, store: str) -> None:
    """What was forgotten stays forgotten: 410, not a history with a hole; what is remembered is told."""

    async def first(client: Client) -> Any:
        await client.post(MAPS, config_map("c", n="1"))
        seen = await client.patch(f"{MAPS}/c", {"data": {"n": "2"}})
        await client.server.compact()
        await client.patch(f"{MAPS}/c", {"data": {"n": "3"}})
        return int(seen["metadata"]["resourceVersion"])

    async def second(client: Client) -> Any:
        told = []
        for revision in (seen - 1, seen):
            async with client.watch(f"{MAPS}?watch=1&resourceVersion={revision}") as events:
                told.append((await events.next())["object"])
        return told

    seen = run(first, tmp_path, store=store)
    forgotten, remembered = run(second, tmp_path, store=store)
    assert (forgotten["code"], forgotten["reason"]) == (410, "Expired")
    assert remembered["data"] == {"n": "3"}
