"""Whose link is whose."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from cni.attachment import (
    Attachment,
    Found,
    Owner,
    build_attachment,
    identity_on_link,
    is_ours,
    judge_links,
    read_owner,
)
from nodeplane.cnispec import Request
from nodeplane.datapath.rtnl import ALIAS_BYTES, Link

WEB = Attachment("c1", "eth0", Path("/run/netns/pod"), "default", "web-0")
LONG = Attachment("c" * 300, "eth0", None, "default", "web-0")


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        pytest.param(
            Request(
                "ADD",
                b"{}",
                container_id="c1",
                netns="/run/netns/pod",
                interface="eth0",
                args={"K8S_POD_NAMESPACE": "default", "K8S_POD_NAME": "web-0", "IgnoreUnknown": "1"},
            ),
            WEB,
            id="kubernetes",
        ),
        pytest.param(
            Request("DEL", b"{}", container_id="c1", interface="net1"),
            Attachment("c1", "net1", None),
            id="another runtime, DEL without a namespace",
        ),
    ],
)
def test_build_attachment(request_: Request, expected: Attachment) -> None:
    assert build_attachment(request_) == expected


@pytest.mark.parametrize(
    ("attachment", "expected"),
    [
        # A change of these names would orphan the links of every running pod.
        pytest.param(WEB, "nplb975426852f", id="by pod"),
        pytest.param(
            msgspec.structs.replace(WEB, container_id="c2"), "nplb975426852f", id="not by container"
        ),
        pytest.param(msgspec.structs.replace(WEB, interface="net1"), "npl3acaa49addd", id="by interface"),
        pytest.param(
            Attachment("c1", "eth0", None), "npl9d48f381831", id="by container when there is no pod"
        ),
    ],
)
def test_host_link_name(attachment: Attachment, expected: str) -> None:
    assert attachment.host_link == expected


@pytest.mark.parametrize(
    ("attachment", "alias", "expected"),
    [
        pytest.param(WEB, "c1/eth0 default/web-0", True, id="itself"),
        pytest.param(WEB, "c1/eth0", True, id="without the pod"),
        pytest.param(WEB, "c2/eth0 default/web-0", False, id="another container"),
        pytest.param(WEB, "c1/net1 default/web-0", False, id="another interface"),
        pytest.param(WEB, "", False, id="none"),
        pytest.param(LONG, LONG.alias, True, id="cut off"),
    ],
)
def test_is_named_by(attachment: Attachment, alias: str, expected: bool) -> None:
    assert attachment.is_named_by(alias) is expected


@pytest.mark.parametrize(
    "attachment",
    [
        pytest.param(WEB, id="short"),
        pytest.param(LONG, id="long container id"),
        pytest.param(Attachment("f" * 64, "eth0", None, "n" * 63, "p" * 253), id="long pod name"),
        pytest.param(Attachment("c1", "eth0", None, "default", "ä" * 200), id="not cut inside a character"),
    ],
)
def test_alias_fits_and_names_its_attachment(attachment: Attachment) -> None:
    assert len(attachment.alias.encode()) <= ALIAS_BYTES
    assert attachment.is_named_by(attachment.alias)


def link(**fields: Any) -> Link:
    base = Link(
        "nplb975426852f", 7, "veth", "02:00:00:00:00:01", 1500, is_up=True, has_carrier=True, peer_index=2
    )
    return msgspec.structs.replace(base, **fields)


HOST = link(alias="c1/eth0 default/web-0")
OTHERS = link(alias="c0/eth0 default/web-0")
NAMELESS = link()
POD = link(name="eth0", index=2, peer_index=7)
FOREIGN_POD = link(name="eth0", index=2, peer_index=9)
NOT_VETH = link(name="eth0", index=2, kind="macvlan", peer_index=None)


@pytest.mark.parametrize(
    ("host", "pod", "expected"),
    [
        pytest.param(None, None, "nothing", id="first ADD"),
        pytest.param(HOST, POD, "ours", id="repeated ADD"),
        pytest.param(NAMELESS, POD, "ours", id="ADD killed before the alias"),
        pytest.param(HOST, None, "stale", id="namespace made anew"),
        pytest.param(OTHERS, None, "stale", id="the pod's earlier sandbox"),
        pytest.param(NAMELESS, None, "stale", id="nobody's"),
        pytest.param(None, POD, "foreign", id="another plugin's interface"),
        pytest.param(HOST, FOREIGN_POD, "foreign", id="a veth to somewhere else"),
        pytest.param(HOST, NOT_VETH, "foreign", id="no veth"),
        pytest.param(OTHERS, POD, "foreign", id="another container's in this namespace"),
        pytest.param(NAMELESS, FOREIGN_POD, "foreign", id="nameless, and not the pair"),
    ],
)
def test_judge_links(host: Link | None, pod: Link | None, expected: Found) -> None:
    assert judge_links(WEB, host, pod) == expected


@pytest.mark.parametrize(
    ("host", "pod", "expected"),
    [
        pytest.param(HOST, None, True, id="by its alias, with the namespace gone"),
        pytest.param(OTHERS, None, False, id="the pod's new sandbox stays"),
        pytest.param(OTHERS, POD, False, id="the alias counts, not the pair"),
        pytest.param(NAMELESS, POD, True, id="nameless, known by its other end"),
        pytest.param(NAMELESS, None, False, id="nameless and unknown"),
    ],
)
def test_is_ours(host: Link, pod: Link | None, expected: bool) -> None:
    assert is_ours(WEB, host, pod) is expected


@pytest.mark.parametrize(
    ("attachment", "alias", "owner"),
    [
        pytest.param(
            msgspec.structs.replace(WEB, network="net"),
            "c1/eth0 net default/web-0",
            Owner("c1/eth0", "net"),
            id="a pod of a network",
        ),
        pytest.param(
            Attachment("c1", "eth0", None, network="net"),
            "c1/eth0 net",
            Owner("c1/eth0", "net"),
            id="a container of a network",
        ),
        pytest.param(WEB, "c1/eth0 default/web-0", Owner("c1/eth0"), id="as it was before networks"),
        pytest.param(
            msgspec.structs.replace(LONG, network="net"),
            "c" * ALIAS_BYTES,
            Owner("c" * ALIAS_BYTES),
            id="cut off",
        ),
    ],
)
def test_an_alias_tells_whose_a_link_is(attachment: Attachment, alias: str, owner: Owner) -> None:
    assert (attachment.alias, read_owner(alias)) == (alias, owner)
    assert attachment.is_named_by(alias)
    assert owner.identity == identity_on_link(attachment.container_id, attachment.interface)


def test_a_link_without_an_alias_is_of_nobody() -> None:
    assert read_owner("") == Owner("")
