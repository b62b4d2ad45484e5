"""The pod's network namespace, as CNI_NETNS names it."""

from collections.abc import Mapping
from pathlib import Path

from cni.attachment import Attachment
from nodeplane.cnispec import CniError, ErrorCode
from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import Link, open_rtnl


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
