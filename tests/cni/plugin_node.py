"""What the plugin's tests share: an attachment and its configuration."""

import pytest

from cni.attachment import Attachment
from ipam.datastore import open_datastore
from tests.cni.conftest import Node

netns_test = pytest.mark.netns

WEB = Attachment("c1", "eth0", None, "default", "web-0")

HOST_LINK = WEB.host_link

ADD = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/npt-never-made",
    "CNI_IFNAME": "eth0",
}

GATEWAY = "169.254.1.1"


def held(node: Node) -> set[tuple[str, str, str]]:
    """Return who holds which address in the node's datastore."""
    with open_datastore(node.datastore) as datastore:
        return {
            (item.handle.container_id, item.handle.interface, str(item.address))
            for item in datastore.read(lambda ledger: ledger.allocations())
        }
