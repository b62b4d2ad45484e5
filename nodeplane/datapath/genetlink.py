"""Generic netlink (linux/genetlink.h): families have names, and numbers that the kernel gives out."""

import struct

from nodeplane.datapath import netlink as nl
from nodeplane.datapath.netlink_socket import NetlinkSocket

NETLINK_GENERIC = 16

HEADER = struct.Struct("=BBH")  # struct genlmsghdr: command, version, reserved

_ID_CONTROLLER, _CONTROLLER_VERSION = 0x10, 1
_GETFAMILY = 3  # CTRL_CMD_GETFAMILY
_FAMILY_ID, _FAMILY_NAME = 1, 2  # CTRL_ATTR_…


def find_family(socket: NetlinkSocket, name: str) -> int:
    """Return the number of a family; the kernel loads its module where it can (ctrl_getfamily).

    Raises:
        KernelNotFoundError: the kernel has no such family.
    """
    body = HEADER.pack(_GETFAMILY, _CONTROLLER_VERSION, 0) + nl.text(_FAMILY_NAME, name)
    answer = socket.question(f"find netlink family {name}", nl.request(_ID_CONTROLLER, 0, 1, body))
    number = nl.attribute_map(answer[HEADER.size :])[_FAMILY_ID]
    return int(struct.unpack("=H", number)[0])
