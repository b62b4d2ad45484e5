"""The pod that a call is about."""

import msgspec

from cni.wiring.plan import Plan
from nodeplane.cnispec import Request


class Pod(msgspec.Struct, frozen=True):
    """The call, and the links that the pod has got."""

    request: Request
    plan: Plan
