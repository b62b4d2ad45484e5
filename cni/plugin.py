"""The CNI plugin `nodeplane-cni`: ADD, DEL and VERSION of SPEC 1.1.0, done in this process.

Decides the order of things. An address is assigned before the link that carries it is made, and released
after that link is gone, so that no two pods ever have one address; what is half done is undone before an
error is reported, and completed by the next ADD or removed by the next DEL if this process is killed.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cni.apply import adopt_links, apply_plan, create_links, remove_links
from cni.attachment import HOST_LINK_PREFIX, Attachment, build_attachment, is_ours, judge_links
from cni.ipam_delegate import find_ipam, pod_address
from cni.mtu import read_uplink_mtu
from cni.network_config import decode_ipam_type, decode_network
from cni.prev_result import append_result
from cni.wiring import Plan, build_plan, build_result
from ipam.errors import CNI_CODES
from nodeplane.cniresult import Result
from nodeplane.cnispec import CniError, ErrorCode, Request, run_plugin
from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import Link, Rtnl, open_rtnl
from nodeplane.datapath.sysctl import KernelSysctls, Sysctls
from nodeplane.errors import KernelNotFoundError, NodeplaneError

log = logging.getLogger(__name__)

INTERFACE_EXISTS = 101
"""Our own error code (SPEC: 100 and above): the pod has an interface of that name which is not ours."""


def main() -> int:
    """Serve one CNI call; return the exit code."""
    return run_plugin("nodeplane-cni: CNI plugin of nodeplane", {"ADD": add, "DEL": delete}, CNI_CODES)


def add(request: Request) -> Result:
    """Give a container its interface and its address; a repeated ADD finds them and answers the same.

    Raises:
        CniError: the namespace is not there or our own, or has a foreign interface of that name.
        NodeplaneError: no address is to be had, or the kernel refused; what was done is undone.
    """
    network, attachment = decode_network(request.config), build_attachment(request)
    ipam = find_ipam(network.ipam.type)
    path = _pod_netns(attachment)
    with open_rtnl() as host, open_rtnl(path) as pod, _undo_on_error() as undo:
        is_there = _make_room(attachment, host, pod)
        undo(lambda: ipam.delete(request))
        address = pod_address(ipam.add(request))
        sysctls = KernelSysctls()
        plan = build_plan(
            attachment,
            path,
            address,
            mtu_bytes=network.mtu_bytes or read_uplink_mtu(host),
            is_arp_strict=sysctls.read("net.ipv4.conf.all.arp_ignore") != "0",
        )
        undo(lambda: remove_links(host, plan.host.link))
        _wire(plan, host, pod, sysctls, is_there=is_there)
        macs = host.link(plan.host.link).mac, pod.link(plan.pod.link).mac
    result = build_result(plan, *macs)
    return result if network.prev_result is None else append_result(network.prev_result, result)


def delete(request: Request) -> None:
    """Take a container's interface and address away; whatever is gone already is fine.

    Raises:
        NodeplaneError: the kernel or the datastore refused; the runtime calls again.
    """
    ipam, attachment = find_ipam(decode_ipam_type(request.config)), build_attachment(request)
    with open_rtnl() as host:
        for name in _own_links(attachment, host):
            remove_links(host, name)
    ipam.delete(request)


def _pod_netns(attachment: Attachment) -> Path:
    """Return the pod's namespace.

    Raises:
        CniError: it is not there, or is the one that we are in.
    """
    path = attachment.netns
    if path is None or not netns.is_namespace(path):
        raise CniError(ErrorCode.INVALID_NETNS, "expected CNI_NETNS to be a network namespace", f"got {path}")
    if netns.is_current(path):
        # As the Go library does: a pod's default route must not become the node's.
        raise CniError(ErrorCode.INVALID_NETNS, "CNI_NETNS is the plugin's own namespace", f"got {path}")
    return path


def _make_room(attachment: Attachment, host: Rtnl, pod: Rtnl) -> bool:
    """Remove what an earlier sandbox left under our names; say whether our own links are there already.

    Raises:
        CniError: the pod has an interface of that name which is not ours.
    """
    found = judge_links(attachment, _find(host, attachment.host_link), _find(pod, attachment.interface))
    if found == "foreign":
        raise CniError(
            INTERFACE_EXISTS,
            f"interface {attachment.interface} exists in the container and is not ours",
            f"in {attachment.netns}",
        )
    if found == "stale":
        remove_links(host, attachment.host_link)
    return found == "ours"


def _wire(plan: Plan, host: Rtnl, pod: Rtnl, sysctls: Sysctls, *, is_there: bool) -> None:
    if is_there:
        adopt_links(plan, host, pod)
    else:
        create_links(plan, host)
    apply_plan(plan, host, pod, sysctls)


def _find(rtnl: Rtnl, name: str) -> Link | None:
    try:
        return rtnl.link(name)
    except KernelNotFoundError:
        return None


def _own_links(attachment: Attachment, host: Rtnl) -> list[str]:
    """Return the names of the host's links that belong to an attachment, whatever CNI_ARGS its DEL brings.

    A DEL need not repeat them (SPEC section 2 asks the runtime, "should"), and they name the link. Were one
    left, its pod would go on with an address that is free for the next.
    """
    pod = _find_pod_link(attachment)
    named = _find(host, attachment.host_link)
    if named is not None and is_ours(attachment, named, pod):
        return [named.name]
    ours = (link for link in host.links().values() if link.name.startswith(HOST_LINK_PREFIX))
    return [link.name for link in ours if is_ours(attachment, link, pod)]


def _find_pod_link(attachment: Attachment) -> Link | None:
    if attachment.netns is None or not netns.is_namespace(attachment.netns):
        return None
    with open_rtnl(attachment.netns) as pod:
        return _find(pod, attachment.interface)


@contextmanager
def _undo_on_error() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Yield what takes a step's counterpart; on an error all of them are done, the last first."""
    with ExitStack() as steps:

        def undo(step: Callable[[], None]) -> None:
            steps.callback(_try, step)

        yield undo
        steps.pop_all()


def _try(step: Callable[[], None]) -> None:
    """Undo one step; when that fails too, the error that made us undo is still the one to report."""
    try:
        step()
    except NodeplaneError:
        log.exception("could not undo a step of ADD; DEL will")
