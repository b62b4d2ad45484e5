"""Numbers of IPVS's generic netlink interface (linux/ip_vs.h), and what its messages have in common. Pure."""

import socket
import struct

from nodeplane.datapath import netlink as nl
from nodeplane.datapath.nft.expr import Family

FAMILY_NAME = "IPVS"
VERSION = 1

# IPVS_CMD_…
NEW_SERVICE, SET_SERVICE, DEL_SERVICE, GET_SERVICE = 1, 2, 3, 4
NEW_DEST, SET_DEST, DEL_DEST, GET_DEST = 5, 6, 7, 8
SET_CONFIG, GET_CONFIG = 12, 13

# IPVS_CMD_ATTR_…, IPVS_SVC_ATTR_…, IPVS_DEST_ATTR_…
SERVICE, DEST, TIMEOUT_TCP, TIMEOUT_TCP_FIN, TIMEOUT_UDP = 1, 2, 4, 5, 6
AF, PROTOCOL, ADDR, PORT, FWMARK, SCHED_NAME, FLAGS, TIMEOUT, NETMASK = range(1, 10)
DEST_ADDR, DEST_PORT, FWD_METHOD, WEIGHT, U_THRESH, L_THRESH = range(1, 7)
ACTIVE, INACTIVE, PERSISTENT, ADDR_FAMILY = 7, 8, 9, 11

HASHED = 0x2  # IP_VS_SVC_F_HASHED, the kernel's own
METHOD_MASK = 0x7  # IP_VS_CONN_F_FWD_MASK

AFS: dict[Family, int] = {"ip": socket.AF_INET, "ip6": socket.AF_INET6}
FAMILIES: dict[int, Family] = {number: name for name, number in AFS.items()}
ADDRESS_BYTES: dict[Family, int] = {"ip": 4, "ip6": 16}
UNION_BYTES = 16  # union nf_inet_addr
U16 = struct.Struct("=H")


class NameLayout:
    """The bytes between the fields of a virtual service's name: they are the same in all of a family."""

    def __init__(self, family: Family) -> None:
        self.family = nl.attribute(AF, U16.pack(AFS[family]))
        self.before_protocol = self.family + nl.attribute(PROTOCOL, bytes(2))[:4]
        self.before_address = bytes(2) + nl.attribute(ADDR, bytes(UNION_BYTES))[:4]
        unused = UNION_BYTES - ADDRESS_BYTES[family]
        self.before_port = bytes(unused) + nl.attribute(PORT, bytes(2))[:4]
        self.after = bytes(2)


NAME_LAYOUTS: dict[Family, NameLayout] = {family: NameLayout(family) for family in AFS}
