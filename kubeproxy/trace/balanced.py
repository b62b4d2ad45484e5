"""What IPVS makes of a connection, for whoever follows one."""

from collections.abc import Mapping
from fractions import Fraction

import msgspec

from nodeplane.datapath.ipvs.service import ServerKey


class Balanced(msgspec.Struct, frozen=True):
    """What IPVS makes of a connection.

    Attributes:
        service: The virtual service, in words.
        how: How it chooses.
        shares: How likely each real server is; empty where the connection is refused.
        remembered_s: For how long the client will come back.
    """

    service: str
    how: str
    shares: Mapping[ServerKey, Fraction]
    remembered_s: int = 0
