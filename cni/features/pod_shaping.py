"""The limits of bandwidth on a pod's link: from an ADD until the DEL.

    ifb, and on it whose it is ─► token buckets ─► redirection of the host link to the ifb

A DEL takes the ifb; all else goes with the host link. An ifb that an ADD left which was killed is the next
DEL's or GC's, and one without its host link anybody's (`remove_orphans`).
"""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from cni.attachment import Attachment, Found, identity_on_link, read_owner
from cni.features.bandwidth import Limits, build_limits, decode_bandwidth, find_orphans, ifb_name
from cni.pod import Pod
from cni.wiring.apply import remove_links
from cni.wiring.plan import Plan
from nodeplane.cnispec import Request
from nodeplane.datapath.link_presence import has_link
from nodeplane.datapath.rtnl import Rtnl, open_rtnl
from nodeplane.datapath.shaping import Bucket, Shape, Shaper, open_shaper
from nodeplane.errors import KernelExistsError, KernelNotFoundError

if TYPE_CHECKING:
    from cni.features.feature import Make
    from nodeplane.datapath.nft.table import Elements

_NO_LIMITS = Limits()

log = logging.getLogger(__name__)


class PodShaping:
    """The feature (`cni.features.feature.Feature`)."""

    def prepare(self, request: Request) -> "Make":
        """See `Feature`.

        Raises:
            ConfigError: a rate or a burst is wrong.
        """
        asked = decode_bandwidth(request.config)

        def make(plan: Plan, found: Found) -> None:
            limits = build_limits(asked, plan.mtu_bytes)
            # New links have none that could be taken away.
            if limits != _NO_LIMITS or found == "ours":
                _make(plan, limits)

        return make

    def remove(self, attachment: Attachment, _folder: Path) -> None:
        """See `Feature`."""
        name = ifb_name(identity_on_link(attachment.container_id, attachment.interface))
        # Most pods have none.
        if has_link(name):
            with open_rtnl() as host:
                remove_links(host, [name])

    def check(self, pod: Pod) -> list[str]:
        """See `Feature`."""
        limits = build_limits(decode_bandwidth(pod.request.config), pod.plan.mtu_bytes)
        # Without one nothing of ours has to be there; a limit on the link may be a later plugin's.
        if limits == _NO_LIMITS:
            return []
        with open_shaper() as shaper:
            return differences(shaper, pod.plan.host.link, _ifb_of(pod.plan), limits)

    def collect(self, _network: str, _valid: Collection[tuple[str, str]], _folder: Path) -> None:
        """See `Feature`: the links of what is not valid are gone, whose ifbs are orphans."""
        with open_rtnl() as host:
            remove_orphans(host)

    def elements(self, _folder: Path) -> "Elements":
        """See `Feature`: none, all of it is queues."""
        return {}


def remove_orphans(rtnl: Rtnl) -> list[str]:
    """Delete the ifbs whose host link is gone, and return their names."""
    orphans = find_orphans({link.name: link.alias for link in rtnl.links().values()})
    remove_links(rtnl, orphans)
    return orphans


def shape(shaper: Shaper, host_link: str, ifb: str, limits: Limits) -> bool:
    """Give a pod's link its limits, whatever it had; say whether its ifb is of no use any more.

    What is right is left, so that a repeated ADD does not disturb the pod's connections. With a limit of what
    the pod sends, its ifb has to be there.
    """
    there = shaper.read(host_link)
    _limit(shaper, host_link, there.bucket, limits.ingress)
    if limits.egress is not None:
        _limit(shaper, ifb, shaper.read(ifb).bucket, limits.egress)
        if there.target != ifb:
            shaper.redirect(host_link, ifb)
        return False
    if there.target is None:
        return False
    # Before the ifb goes: what is sent to one that is gone is lost.
    shaper.undirect(host_link)
    return True


def differences(shaper: Shaper, host_link: str, ifb: str, limits: Limits) -> list[str]:
    """Say what a pod's link has not of its limits; what it is not asked to have may be a later plugin's."""
    try:
        there = shaper.read(host_link)
        behind = shaper.read(ifb) if limits.egress else Shape()
    except KernelNotFoundError as exc:
        return [f"bandwidth: {exc}"]
    found = []
    if limits.ingress is not None and there.bucket != limits.ingress:
        found.append(f"{host_link} has {_render(there.bucket)}, not {_render(limits.ingress)}")
    if limits.egress is not None and there.target != ifb:
        found.append(f"{host_link} is not redirected to {ifb}")
    if limits.egress != behind.bucket:
        found.append(f"{ifb} has {_render(behind.bucket)}, not {_render(limits.egress)}")
    return found


def _make(plan: Plan, limits: Limits) -> None:
    ifb = _ifb_of(plan)
    with open_shaper() as shaper:
        if limits.egress is not None:
            _ensure_ifb(shaper, ifb, plan)
        is_useless = shape(shaper, plan.host.link, ifb, limits)
    if is_useless:
        with open_rtnl() as host:
            remove_links(host, [ifb])


def _ensure_ifb(shaper: Shaper, name: str, plan: Plan) -> None:
    try:
        shaper.add_ifb(name, plan.mtu_bytes)
    except KernelExistsError:
        log.debug("ifb is there link=%s", name)
    with open_rtnl() as host:
        # For people: who is limited.
        host.set_alias(name, plan.alias)


def _ifb_of(plan: Plan) -> str:
    return ifb_name(read_owner(plan.alias).identity)


def _limit(shaper: Shaper, name: str, there: Bucket | None, bucket: Bucket | None) -> None:
    if there == bucket:
        return
    if bucket is None:
        shaper.unlimit(name)
    else:
        shaper.limit(name, bucket)


def _render(bucket: Bucket | None) -> str:
    if bucket is None:
        return "no limit"
    return f"a limit of {bucket.rate_bytes * 8} bit/s, {bucket.ticks} ticks, {bucket.limit_bytes} bytes"
