"""What an Upkeep holds, and lets go of."""

import asyncio
import gc
import weakref

import pytest

from coredns_lite.config import decode_config
from coredns_lite.corefile.parser import parse_corefile
from coredns_lite.upkeep import SiteSurroundings, Upkeep


class Index:
    """What a plugin keeps."""


def test_a_cleared_one_lets_go_of_what_the_plugins_have() -> None:
    """Though their tasks hold what they are built into, and that holds them: no collector is needed."""
    (listener,) = decode_config(parse_corefile(". {\n errors\n}", "Corefile"))
    upkeep = Upkeep(lambda _: None)
    surroundings = SiteSurroundings(listener, listener.sites[0], upkeep)

    def build() -> weakref.ref[Index]:
        index = surroundings.shared("index", Index)

        async def main() -> None:
            surroundings.changed([index])

        surroundings.run(main)
        surroundings.run(main, when_serving=True)
        return weakref.ref(index)

    gc.disable()
    try:
        ref = build()
        assert ref() is not None
        upkeep.clear()
        assert ref() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("within_s", [None, 0.0])
def test_who_waits_how_long(within_s: float | None) -> None:
    """A start goes on without what takes too long; ready is who has it all."""

    async def scenario() -> None:
        upkeep = Upkeep(lambda _: None)
        is_there = upkeep.wait_for("cluster", within_s)
        start, ready = (asyncio.ensure_future(until()) for until in (upkeep.until_start, upkeep.until_ready))
        if within_s is not None:
            await start
        assert (start.done(), ready.done(), upkeep.unready()) == (within_s is not None, False, ("cluster",))

        is_there()
        await asyncio.gather(start, ready)
        assert upkeep.unready() == ()

    asyncio.run(scenario())
