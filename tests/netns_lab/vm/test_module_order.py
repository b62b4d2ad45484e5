"""The order in which kernel modules are loaded."""

import pytest

from netns_lab.vm.module_order import decode_dependencies, load_order
from nodeplane.errors import NodeplaneError

MODULES_DEP = """kernel/fs/netfs/netfs.ko:
kernel/net/9p/9pnet.ko: kernel/fs/netfs/netfs.ko
kernel/net/9p/9pnet_virtio.ko: virtio/virtio_ring.ko virtio/virtio.ko kernel/net/9p/9pnet.ko
virtio/virtio.ko:
virtio/virtio_ring.ko: virtio/virtio.ko
kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko kernel/fs/netfs/netfs.ko
kernel/net/some-module.ko:
"""


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(["virtio"], ["virtio.ko"], id="needs nothing"),
        pytest.param(["9p"], ["netfs.ko", "9pnet.ko", "9p.ko.xz"], id="the needs of its needs first"),
        pytest.param(
            ["9pnet_virtio", "9p"],
            ["9pnet.ko", "virtio.ko", "virtio_ring.ko", "9pnet_virtio.ko", "netfs.ko", "9p.ko.xz"],
            id="each once",
        ),
        pytest.param(["some_module"], ["some-module.ko"], id="a hyphen is an underscore"),
        pytest.param([], [], id="none"),
    ],
)
def test_load_order(names: list[str], expected: list[str]) -> None:
    order = load_order(decode_dependencies(MODULES_DEP), names)

    assert [file.rpartition("/")[2] for file in order] == expected


def test_no_such_module() -> None:
    with pytest.raises(NodeplaneError, match="vrf: expected among the modules of the guest's kernel"):
        load_order(decode_dependencies(MODULES_DEP), ["vrf"])
