"""A VXLAN link that nobody needs stays for a while."""

import asyncio

import pytest

from cni.routing import link_grace
from cni.routing.link_grace import LinkGrace


def test_it_stays_until_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_grace, "_GRACE_S", 0.05)

    async def work() -> None:
        over = asyncio.Event()
        grace = LinkGrace(over.set)
        assert grace.keep({4}, ()) == {4}
        await asyncio.wait_for(over.wait(), 60)
        assert grace.keep({4}, {4}) == {4}, "routes still lead to it"
        assert grace.keep({4}, ()) == frozenset()
        # Needed meanwhile: its time begins anew.
        assert grace.keep(set(), ()) == frozenset()
        assert grace.keep({4}, ()) == {4}

    asyncio.run(work())
