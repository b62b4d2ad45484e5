"""`rtnl.kernel` by the name that its users know."""

from nodeplane.datapath.rtnl.kernel import KernelRtnl

__all__ = ["KernelRtnl"]
