"""A link is there or not, in the namespace that the calling thread is in."""

import pytest

from nodeplane.datapath import netns
from nodeplane.datapath.link_presence import has_link
from nodeplane.datapath.rtnl import open_rtnl
from tests.netns_fixture import namespace

pytestmark = pytest.mark.netns


def test_has_link() -> None:
    with namespace() as ns, netns.inside(ns), open_rtnl() as rtnl:
        rtnl.add_bridge("b" * 15)
        found = {name: has_link(name) for name in ("lo", "b" * 15, "b" * 14, "b" * 16, "", "all")}

        rtnl.delete_link("b" * 15)

        there = {"lo": True, "b" * 15: True, "b" * 14: False, "b" * 16: False, "": False, "all": False}
        assert found == there
        assert not has_link("b" * 15)
