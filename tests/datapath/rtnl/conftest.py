"""One contract for the kernel's rtnetlink and for the fake that stands in for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeplane.datapath.rtnl import open_rtnl
from nodeplane.datapath.rtnl.fake import FakeKernel
from tests.datapath.rtnl.pair import Pair, wired
from tests.netns_fixture import namespace


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.netns)])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    if request.param == "fake":
        kernel = FakeKernel()
        yield wired(Pair(kernel.rtnl(), kernel.rtnl(Path("/far")), Path("/far")))
        return
    with namespace("near") as a, namespace("far") as b, open_rtnl(a) as near, open_rtnl(b) as far:
        yield wired(Pair(near, far, b))
