"""The history does not grow for ever."""

from pathlib import Path

from netns_lab.apiserver.compaction import CompactionSettings
from netns_lab.apiserver.resources import CONFIG_MAPS
from tests.netns_lab.apiserver.running import Client, config_map, run

MAPS = "/api/v1/namespaces/default/configmaps"


def test_the_limit_holds_before_the_interval_is_over(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        state = client.server.registry.state
        await client.post(MAPS, config_map("x"))
        async with client.watch(f"{MAPS}?watch=1&resourceVersion=1") as events:
            await events.next()
        for number in range(30):
            await client.patch(f"{MAPS}/x", {"data": {"n": str(number)}})
        while state.revision - state.compacted > 10:
            await state.history(CONFIG_MAPS).changed()

        async with client.watch(f"{MAPS}?watch=1&resourceVersion=1") as events:
            assert (await events.next())["object"]["code"] == 410

    settings = CompactionSettings(interval_s=1000.0, limit=10, check_interval_s=0.05)
    run(scenario, tmp_path, compaction=settings)
