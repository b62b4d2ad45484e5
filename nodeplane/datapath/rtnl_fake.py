"""`rtnl.fake` by the name that its users know."""

from nodeplane.datapath.rtnl.fake import FakeKernel, FakeRtnl

__all__ = ["FakeKernel", "FakeRtnl"]
