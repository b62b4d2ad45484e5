"""The same scenario from a recorded API server and from files: what a real server said leads to one state."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from nodeplane.errors import ApiError
from nodeplane.kube.apiserver import ApiServerSource
from nodeplane.kube.manifests import ManifestDirectory
from nodeplane.kube.objects import (
    API_VERSIONS,
    EndpointSlice,
    Namespace,
    Node,
    Object,
    ObjectKey,
    Pod,
    Service,
)
from tests.kube.api_cluster import QUICK, connect
from tests.kube.changes import apply
from tests.kube.peer import Peer, Reply, Request
from tests.kube.reading import reading
from tests.kube.recordings import recorded_items, recording

LISTS: dict[type[Object], str] = {
    Service: "list-services.json",
    EndpointSlice: "list-endpointslices.json",
    Node: "list-nodes.json",
    Namespace: "list-namespaces.json",
    Pod: "list-pods.json",
}
WATCHES = {
    "/api/v1/services": "watch-services.jsonl",
    "/apis/discovery.k8s.io/v1/endpointslices": "watch-endpointslices.jsonl",
}
PATHS = {
    f"/{'apis' if '/' in API_VERSIONS[kind] else 'api'}/{API_VERSIONS[kind]}/{kind.__name__.lower()}s": name
    for kind, name in LISTS.items()
}


async def replay(request: Request, reply: Reply) -> None:
    """Answer as the server did that was recorded: it had no streaming lists."""
    if request.path not in PATHS:
        await reply.json(recording("not-found.json"), 404)
    elif not request.is_watch:
        await reply.json(recording(PATHS[request.path]))
    elif request.is_streaming_list:
        await reply.start()
        await reply.chunk(recording("watchlist-endpointslices.jsonl").encode())
        await reply.end()
    else:
        await reply.start()
        for line in recording(WATCHES[request.path]).splitlines() if request.path in WATCHES else ():
            await reply.chunk(line.encode() + b"\n")
        await asyncio.Event().wait()


def recorded_end() -> dict[type[Object], dict[tuple[str, str], Any]]:
    """Work out what there is after the recorded watches, from the JSON alone."""
    state: dict[type[Object], dict[tuple[str, str], Any]] = {}
    for kind, name in LISTS.items():
        state[kind] = {_name(item): item for item in recorded_items(name)}
    for kind, name in ((Service, "watch-services.jsonl"), (EndpointSlice, "watch-endpointslices.jsonl")):
        for event in map(json.loads, recording(name).splitlines()):
            if event["type"] == "DELETED":
                # The list is younger than its watch: what was deleted may not be in it.
                state[kind].pop(_name(event["object"]), None)
            elif event["type"] != "BOOKMARK":
                state[kind][_name(event["object"])] = event["object"]
    return state


def _name(item: Mapping[str, Any]) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


async def read_files(directory: Path) -> dict[ObjectKey, Object]:
    """Read the end state from manifests, as `kubectl get -o json` would have written them."""
    for kind, items in recorded_end().items():
        for item in items.values():
            item["metadata"].pop("resourceVersion")
        document = {
            "kind": f"{kind.__name__}List",
            "apiVersion": API_VERSIONS[kind],
            "items": [*items.values()],
        }
        (directory / f"{kind.__name__}.json").write_text(json.dumps(document))
    state = dict[ObjectKey, Object]()
    async with aclosing(ManifestDirectory(directory).batches(LISTS)) as batches:
        apply(state, await anext(batches))
    return state


def test_both_sources_lead_to_the_same_state(tmp_path: Path) -> None:
    """List and watch, as recorded, end where the same objects in files begin."""

    async def walk() -> None:
        expected = await read_files(tmp_path)
        async with (
            Peer(replay) as peer,
            reading(ApiServerSource(connect(peer.url), timing=QUICK), *LISTS) as reader,
        ):
            await reader.until(expected)

    asyncio.run(walk())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param("unauthorized.http", "list Service: 401 Unauthorized", id="401"),
        pytest.param("not-found.json", 'list Service: 404 services "nope" not found', id="404"),
    ],
)
def test_recorded_refusal(name: str, said: str) -> None:
    """A real server's refusal is reported in its own words."""
    text = recording(name)
    body = json.loads(text[text.index("{") :])

    async def handle(request: Request, reply: Reply) -> None:
        if request.is_watch:
            await reply.status(400, "BadRequest")
        else:
            await reply.json(body, body["code"])

    async def walk() -> None:
        async with Peer(handle) as peer:
            source = ApiServerSource(connect(peer.url), snapshot_within_s=0.3, timing=QUICK)
            await anext(source.batches((Service,)))

    with pytest.raises(ApiError, match=said):
        asyncio.run(walk())
