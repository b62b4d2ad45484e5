"""Who an ADD or DEL is about, and which links are his.

An attachment is one interface of one container (SPEC section 2). Its link on the host has a name that
follows from the pod, so that whoever knows the pod (a policy, a person) finds the link. A pod may get a
second sandbox before the first is gone, so the name alone does not say whose link it is; the link's alias
does: `CONTAINER/INTERFACE NETWORK NAMESPACE/POD`, which `ip link` shows.
"""

import hashlib
from pathlib import Path
from typing import Literal

import msgspec

from nodeplane.cnispec import Request
from nodeplane.datapath.rtnl import ALIAS_BYTES, Link

HOST_LINK_PREFIX = "npl"
"""Every link of this prefix is nodeplane's."""

_HASH_DIGITS = 11  # with the prefix 14 bytes; a link's name has at most 15 (IFNAMSIZ less the closing zero)


class Attachment(msgspec.Struct, frozen=True):
    """One interface of one container; `netns` is None when a DEL came without a namespace."""

    container_id: str
    interface: str
    netns: Path | None
    pod_namespace: str = ""
    pod_name: str = ""
    network: str = ""

    @property
    def host_link(self) -> str:
        """The name of the host's side of the veth pair."""
        # Without CNI_ARGS (not Kubernetes) the container is all there is to name it by.
        owner = f"{self.pod_namespace}/{self.pod_name}" if self.pod_name else self.container_id
        digest = hashlib.sha1(f"{owner}/{self.interface}".encode(), usedforsecurity=False).hexdigest()
        return HOST_LINK_PREFIX + digest[:_HASH_DIGITS]

    @property
    def alias(self) -> str:
        """The text on the host's link; cut off where the kernel would refuse it."""
        pod = f" {self.pod_namespace}/{self.pod_name}" if self.pod_name else ""
        # Before the pod, which may be cut off: GC goes by the network.
        network = f" {self.network}" if self.network else ""
        return _cut(self._identity + network + pod)

    def is_named_by(self, alias: str) -> bool:
        """Say whether an alias names this attachment, whatever it says of the pod."""
        return read_owner(alias).identity == identity_on_link(self.container_id, self.interface)

    @property
    def _identity(self) -> str:
        # SPEC: a container id has only ASCII letters, digits and _.-, so the first slash ends it.
        return f"{self.container_id}/{self.interface}"


class Owner(msgspec.Struct, frozen=True):
    """Whose a link is by its alias; `network` is empty where the alias does not say."""

    identity: str
    network: str = ""


def read_owner(alias: str) -> Owner:
    """Read out of a link's alias whose it is."""
    identity, _, rest = alias.partition(" ")
    network = rest.partition(" ")[0]
    # SPEC section 1: a network's name has no slash; a pod is NAMESPACE/POD.
    return Owner(identity, "" if "/" in network else network)


def identity_on_link(container_id: str, interface: str) -> str:
    """Return what `read_owner` finds on the link of an attachment."""
    return _cut(f"{container_id}/{interface}")


def _cut(alias: str) -> str:
    return alias.encode()[:ALIAS_BYTES].decode(errors="ignore")


Found = Literal["nothing", "ours", "stale", "foreign"]


def build_attachment(request: Request) -> Attachment:
    """Build the attachment that a call is about."""
    return Attachment(
        container_id=request.container_id,
        interface=request.interface,
        netns=Path(request.netns) if request.netns else None,
        pod_namespace=request.args.get("K8S_POD_NAMESPACE", ""),
        pod_name=request.args.get("K8S_POD_NAME", ""),
        network=request.network,
    )


def judge_links(attachment: Attachment, host: Link | None, pod: Link | None) -> Found:
    """Say what the two ends that an ADD is about to make are already.

    Returns:
        "nothing": both names are free.
        "ours": an earlier ADD of this attachment made the pair, perhaps not to the end.
        "stale": the host's link belongs to a sandbox that this one follows; it has to go.
        "foreign": the pod has an interface of that name which is not ours (SPEC: ADD must fail).
    """
    if pod is None:
        return "nothing" if host is None else "stale"
    if host is not None and is_ours(attachment, host, pod) and _are_peers(host, pod):
        return "ours"
    return "foreign"


def is_ours(attachment: Attachment, host: Link, pod: Link | None) -> bool:
    """Say whether the host's link belongs to this attachment.

    One without an alias comes from an ADD that was killed right after creating it. That one must be known by
    its other end: once the pod's namespace is gone, so is the pair.
    """
    if host.alias:
        return attachment.is_named_by(host.alias)
    return pod is not None and _are_peers(host, pod)


def _are_peers(one: Link, other: Link) -> bool:
    return (one.kind, other.kind) == ("veth", "veth") and (one.peer_index, other.peer_index) == (
        other.index,
        one.index,
    )
