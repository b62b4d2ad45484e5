"""The pod's network namespace, as CNI_NETNS names it."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from cni.attachment import Attachment
from cni.error_codes import POD_HAS_INTERFACE
from cni.wiring.plan import GATEWAY
from nodeplane.cnispec import CniError, ErrorCode
from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import ROUTE_PROTOCOL, Family, Link, Rtnl, open_rtnl

_FAMILIES: tuple[Family, ...] = (4, 6)


def require_netns(attachment: Attachment, environ: Mapping[str, str]) -> Path:
    """Return the pod's namespace.

    Raises:
        CniError: it is not there, or is the one that we are in and CNI_NETNS_OVERRIDE does not allow that.
    """
    path = attachment.netns
    if path is None or not netns.is_namespace(path):
        raise CniError(ErrorCode.INVALID_NETNS, "expected CNI_NETNS to be a network namespace", f"got {path}")
    # As the Go library does (pkg/skel): a pod's default route must not become the node's by mistake.
    if environ.get("CNI_NETNS_OVERRIDE", "").lower() not in {"1", "true"} and netns.is_current(path):
        raise CniError(ErrorCode.INVALID_NETNS, "CNI_NETNS is the plugin's own namespace", f"got {path}")
    return path


def find_pod_link(attachment: Attachment) -> Link | None:
    """Return the pod's end if its namespace and the interface are there."""
    if attachment.netns is None or not netns.is_namespace(attachment.netns):
        return None
    with open_rtnl(attachment.netns) as pod:
        return pod.find_link(attachment.interface)


def require_only(pod: Rtnl, links: Iterable[str], interface: str) -> None:
    """Require that no other interface of the pod is one of ours: both would want the same next hop.

    Args:
        pod: Of the pod's namespace.
        links: All that is there, by name.
        interface: Which is to be the only one.

    Raises:
        CniError: there is one; the message names it.
    """
    others = set(links) - {"lo", interface}
    if not others:
        return
    routes = (route for family in _FAMILIES for route in pod.routes(ROUTE_PROTOCOL, family=family))
    # What an ADD makes there: the way to the gateway, which is link-local in both families.
    ours = sorted(
        route.link
        for route in routes
        if route.destination.is_link_local and route.link is not None and route.link in others
    )
    if ours:
        raise CniError(
            POD_HAS_INTERFACE,
            f"interface {ours[0]} of the container is ours already, and a pod can have one of ours",
            f"{interface} would want the same next hop, {GATEWAY} or that of IPv6",
        )
