"""GC: which links are garbage."""

from pathlib import Path

import pytest

from cni.attachment import Attachment
from cni.garbage import garbage_links
from nodeplane.datapath.rtnl.fake import FakeRtnl

WEB = Attachment("c1", "eth0", None, "default", "web-0", "net")
SECOND = Attachment("c1", "net1", None, "default", "web-0", "net")
OTHERS = Attachment("c2", "eth0", Path("/n"), "default", "web-1", "other-net")
BEGUN = "npl00000000000"
LONG = Attachment("c" * 300, "eth0", None, "default", "web-2", "net")


def node() -> FakeRtnl:
    rtnl = FakeRtnl()
    for number, attachment in enumerate((WEB, SECOND, OTHERS)):
        rtnl.add_veth(attachment.host_link, f"pod{number}")
        rtnl.set_alias(attachment.host_link, attachment.alias)
    rtnl.add_veth(BEGUN, "killed")
    rtnl.add_veth("npl11111111111", "pod9")
    rtnl.set_up("npl11111111111")
    rtnl.add_veth("eth7", "far")
    rtnl.set_alias("eth7", "c9/eth0 net")
    return rtnl


@pytest.mark.parametrize(
    ("valid", "expected"),
    [
        pytest.param(
            {("c1", "eth0"), ("c1", "net1")}, [BEGUN], id="all are valid, but one that was only begun"
        ),
        pytest.param({("c1", "eth0")}, [SECOND.host_link, BEGUN], id="one interface of a container"),
        pytest.param(
            set(), [WEB.host_link, SECOND.host_link, BEGUN], id="none is: those of other networks stay"
        ),
        pytest.param(
            {("c2", "eth0"), ("c1", "eth")},
            [WEB.host_link, SECOND.host_link, BEGUN],
            id="what is valid is others",
        ),
    ],
)
def test_garbage_links(valid: set[tuple[str, str]], expected: list[str]) -> None:
    assert garbage_links(node(), "net", valid) == expected


def test_a_name_too_long_for_an_alias_is_known_by_its_beginning() -> None:
    rtnl = FakeRtnl()
    rtnl.add_veth(LONG.host_link, "pod")
    rtnl.set_alias(LONG.host_link, LONG.alias)

    # Its network is cut off, so it is never garbage.
    assert garbage_links(rtnl, "net", set()) == []
