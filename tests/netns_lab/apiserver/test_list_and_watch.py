"""LIST and WATCH over HTTP: pages, selectors, bookmarks, streaming lists, what is too old."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netns_lab.apiserver.watching import WatchSettings
from tests.netns_lab.apiserver.running import Client, config_map, run

MAPS = "/api/v1/namespaces/default/configmaps"
CLUSTER_MAPS = "/api/v1/configmaps"


def names(listed: Any) -> list[str]:
    return [item["metadata"]["name"] for item in listed["items"]]


async def fill(client: Client, *names: str) -> None:
    for name in names:
        await client.post(MAPS, config_map(name, {"first": name[0]}))


def test_pages_are_of_one_revision(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        await fill(client, "a", "b", "c", "d", "e")
        first = await client.get(f"{MAPS}?limit=2")
        token = first["metadata"]["continue"]
        await client.request("DELETE", f"{MAPS}/c")
        await fill(client, "bb")
        second = await client.get(f"{MAPS}?limit=2&continue={token}")
        last = await client.get(f"{MAPS}?limit=2&continue={second['metadata']['continue']}")

        assert names(first) + names(second) + names(last) == ["a", "b", "c", "d", "e"]
        assert (first["metadata"]["remainingItemCount"], second["metadata"]["remainingItemCount"]) == (3, 1)
        assert "continue" not in last["metadata"]
        versions = {page["metadata"]["resourceVersion"] for page in (first, second, last)}
        assert len(versions) == 1
        assert names(await client.get(MAPS)) == ["a", "b", "bb", "d", "e"]

    run(scenario, tmp_path)


def test_a_page_that_is_too_old_offers_to_go_on(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        await fill(client, "a", "b", "c")
        first = await client.get(f"{MAPS}?limit=1")
        await fill(client, "bb")
        await client.server.compact()
        expired = await client.get(f"{MAPS}?limit=1&continue={first['metadata']['continue']}", code=410)
        rest = await client.get(f"{MAPS}?continue={expired['metadata']['continue']}")

        assert expired["reason"] == "Expired"
        assert names(rest) == ["b", "bb", "c"]
        await client.get(f"{MAPS}?continue=nonsense", code=400)

    run(scenario, tmp_path)


def test_lists_of_chosen_revisions(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        await fill(client, "a")
        version = int((await client.get(MAPS))["metadata"]["resourceVersion"])
        await fill(client, "b")

        assert names(await client.get(f"{MAPS}?resourceVersion={version}")) == ["a", "b"]
        exact = f"{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact"
        assert names(await client.get(exact)) == ["a"]
        assert (await client.get(f"{MAPS}?resourceVersion={version + 9}", code=504))["reason"] == "Timeout"
        await client.get(f"{MAPS}?resourceVersionMatch=Exact", code=422)

    run(scenario, tmp_path)


def test_a_list_has_what_its_selectors_select(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        await fill(client, "a1", "a2", "b1")

        assert names(await client.get(f"{MAPS}?labelSelector=first%3Da")) == ["a1", "a2"]
        assert names(await client.get(f"{CLUSTER_MAPS}?fieldSelector=metadata.name%3Da2")) == ["a2"]
        page = await client.get(f"{MAPS}?labelSelector=first%3Da&limit=1")
        assert (names(page), "remainingItemCount" in page["metadata"]) == (["a1"], False)

    run(scenario, tmp_path)


def test_a_watch_tells_what_a_selector_hides_and_shows(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        await fill(client, "a")
        query = "watch=1&labelSelector=first%3Da&resourceVersion="
        version = (await client.get(MAPS))["metadata"]["resourceVersion"]
        async with client.watch(f"{MAPS}?{query}{version}") as events:
            await client.patch(f"{MAPS}/a", {"data": {"k": "1"}})
            await client.patch(f"{MAPS}/a", {"metadata": {"labels": {"first": "z"}}})
            await client.patch(f"{MAPS}/a", {"data": {"k": "2"}})
            back = await client.patch(f"{MAPS}/a", {"metadata": {"labels": {"first": "a"}}})
            await client.request("DELETE", f"{MAPS}/a")
            told = [await events.next() for _ in range(4)]

        assert [event["type"] for event in told] == ["MODIFIED", "DELETED", "ADDED", "DELETED"]
        hidden, shown = told[1]["object"], told[2]["object"]
        assert (hidden["metadata"]["labels"], hidden["data"]) == ({"first": "a"}, {"k": "1"})
        assert shown == back
        versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in told]
        assert versions == sorted(set(versions))

    run(scenario, tmp_path)


@pytest.mark.parametrize("version", ["", "0"])
def test_a_watch_without_version_begins_with_what_is_there(tmp_path: Path, version: str) -> None:
    async def scenario(client: Client) -> None:
        await fill(client, "a", "b")
        async with client.watch(f"{MAPS}?watch=true&resourceVersion={version}") as events:
            await fill(client, "c")

            assert await events.names(3) == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]

    run(scenario, tmp_path)


def test_a_streaming_list_says_when_it_is_complete(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        await fill(client, "a", "b")
        listed = await client.get(MAPS)
        query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        async with client.watch(f"{MAPS}?{query}") as events:
            first = await events.names(2)
            end = await events.next()
            await fill(client, "c")

            assert first == [("ADDED", "a"), ("ADDED", "b")]
            assert end == {
                "type": "BOOKMARK",
                "object": {
                    "kind": "ConfigMap",
                    "apiVersion": "v1",
                    "metadata": {
                        "resourceVersion": listed["metadata"]["resourceVersion"],
                        "annotations": {"k8s.io/initial-events-end": "true"},
                    },
                },
            }
            assert await events.names(1) == [("ADDED", "c")]
        await client.get(f"{MAPS}?watch=1&sendInitialEvents=true", code=422)

    run(scenario, tmp_path)


def test_a_server_without_streaming_lists(tmp_path: Path) -> None:
    """As the recorded server answers."""

    async def scenario(client: Client) -> Any:
        query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        async with client.watch(f"{MAPS}?{query}") as events:
            return await events.rest()

    (event,) = run(scenario, tmp_path, watch=WatchSettings(streaming_list=False))

    assert event == {
        "type": "ERROR",
        "object": {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": "a watch stream was requested by the client but the required storage feature "
            "RequestWatchProgress is disabled",
            "reason": "InternalError",
            "code": 500,
        },
    }


def test_bookmarks_tell_of_other_resources_progress(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        version = (await client.get(MAPS))["metadata"]["resourceVersion"]
        query = f"watch=1&allowWatchBookmarks=true&timeoutSeconds=1&resourceVersion={version}"
        async with client.watch(f"{MAPS}?{query}") as events:
            await client.post("/api/v1/namespaces", {"metadata": {"name": "other"}})
            told = await events.rest()

        assert {event["type"] for event in told} == {"BOOKMARK"}
        assert int(told[-1]["object"]["metadata"]["resourceVersion"]) == int(version) + 1

    run(scenario, tmp_path, watch=WatchSettings(bookmark_interval_s=0.2))


def test_a_watch_from_a_forgotten_revision(tmp_path: Path) -> None:
    """ERROR 410 inside a 200 answer, as the recording has it."""

    async def scenario(client: Client) -> Any:
        await fill(client, "a")
        await client.server.compact()
        now = (await client.get(MAPS))["metadata"]["resourceVersion"]
        async with client.watch(f"{MAPS}?watch=1&resourceVersion=1") as events:
            return now, await events.rest()

    now, told = run(scenario, tmp_path)

    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    message = f"too old resource version: 1 ({now})"
    assert told == [
        {"type": "ERROR", "object": {**status, "message": message, "reason": "Expired", "code": 410}}
    ]


def test_a_watch_from_a_revision_yet_to_come(tmp_path: Path) -> None:
    """Whoever saw another server's data is told, not left waiting."""

    async def scenario(client: Client) -> Any:
        async with client.watch(f"{MAPS}?watch=1&resourceVersion=1000000") as events:
            return await events.rest()

    (event,) = run(scenario, tmp_path)

    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 504, "Timeout")


def test_a_compaction_leaves_a_watch_that_is_in_step(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        await fill(client, "a")
        version = (await client.get(MAPS))["metadata"]["resourceVersion"]
        async with client.watch(f"{MAPS}?watch=1&resourceVersion={version}") as events:
            await client.post("/api/v1/namespaces", {"metadata": {"name": "other"}})
            await client.server.compact()
            await fill(client, "b")

            assert await events.names(1) == [("ADDED", "b")]

    run(scenario, tmp_path)


CHANGES = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["1", "2", None])), max_size=12)


@given(changes=CHANGES)
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_watch_replayed_over_a_list_is_the_later_list(tmp_path: Path, changes: Any) -> None:
    """From whatever revision it starts."""

    async def scenario(client: Client) -> None:
        lists = [await client.get(MAPS)]
        for name, value in changes:
            there = name in names(lists[-1])
            if value is None:
                await client.request("DELETE", f"{MAPS}/{name}", code=200 if there else 404)
            elif there:
                await client.patch(f"{MAPS}/{name}", {"data": {"v": value}})
            else:
                await client.post(MAPS, config_map(name, v=value))
            lists.append(await client.get(MAPS))
        for listed in lists:
            objects = {item["metadata"]["name"]: item for item in listed["items"]}
            version = listed["metadata"]["resourceVersion"]
            if version == lists[-1]["metadata"]["resourceVersion"]:
                continue
            async with client.watch(f"{MAPS}?watch=1&resourceVersion={version}") as events:
                while version != lists[-1]["metadata"]["resourceVersion"]:
                    event = await events.next()
                    item = {k: v for k, v in event["object"].items() if k not in {"kind", "apiVersion"}}
                    version = item["metadata"]["resourceVersion"]
                    if event["type"] == "DELETED":
                        del objects[item["metadata"]["name"]]
                    else:
                        objects[item["metadata"]["name"]] = item
            assert [objects[name] for name in sorted(objects)] == lists[-1]["items"]

    run(scenario, tmp_path)
