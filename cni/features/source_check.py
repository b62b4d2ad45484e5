"""The check of what a pod sends as: from an ADD until the DEL, and back after a wipe of our table.

    file of the pod ─► elements of our table

A DEL goes the other way. On for every pod unless the configuration says `"sourceCheck": false`. What needs
the kernel is `cni.features.node_table`'s.
"""

from collections.abc import Collection
from ipaddress import collapse_addresses, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from cni.attachment import Attachment, build_attachment, identity_on_link, read_owner
from cni.call_lock import find_socket
from cni.features.source_rules import build_elements
from cni.features.source_state import (
    Sender,
    changing,
    link_of,
    list_names,
    pick_own,
    read_link,
    read_sender,
    read_senders,
    remove_drafts,
    remove_sender,
    write_sender,
)
from cni.network_config import NetworkConfig, decode_network
from cni.pod import Pod
from cni.wiring.plan import Plan, link_local
from nodeplane.cnispec import Request
from nodeplane.datapath.rtnl import open_rtnl

if TYPE_CHECKING:
    from cni.features.feature import Make
    from nodeplane.datapath.nft.table import Elements


class SourceCheck:
    """The feature (`cni.features.feature.Feature`)."""

    def prepare(self, request: Request) -> "Make":
        """See `Feature`.

        Raises:
            ConfigError: a field, or a prefix in an annotation, is wrong.
        """
        network = decode_network(request.config)
        # Judged before anything is made.
        network.allowed_sources()
        attachment, folder = build_attachment(request), find_socket(request.environ).parent
        return lambda plan, _found: _make(attachment, network, folder, plan)

    def remove(self, attachment: Attachment, folder: Path) -> None:
        """See `Feature`."""
        for name in pick_own(list_names(folder), attachment.container_id, attachment.interface):
            _release(folder, name)

    def check(self, pod: Pod) -> list[str]:
        """See `Feature`."""
        network = decode_network(pod.request.config)
        if not network.source_check:
            return []
        attachment, folder = build_attachment(pod.request), find_socket(pod.request.environ).parent
        asked = build_sender(attachment, network, pod.plan)
        sender = read_sender(folder, asked.file_name)
        link = pod.plan.host.link
        if sender is None or (sender.addresses, sender.prefixes) != (asked.addresses, asked.prefixes):
            return [f"what {link} sends is checked for {_render(sender)}, not for {_render(asked)}"]
        return _find_differences(sender, folder)

    def collect(self, network: str, valid: Collection[tuple[str, str]], folder: Path) -> None:
        """See `Feature`."""
        for sender in [*read_senders(folder)]:
            if sender.network == network and (sender.container_id, sender.interface) not in valid:
                _release(folder, sender.file_name)
        # Nobody writes any while GC has all containers' turns.
        remove_drafts(folder)

    def elements(self, folder: Path) -> "Elements":
        """See `Feature`."""
        senders = [sender for sender in read_senders(folder) if sender.is_checked]
        joined: dict[str, dict[bytes, bytes]] = {}
        if not senders:
            return joined
        with open_rtnl() as host:
            links = host.links()
        for sender in senders:
            link = links.get(sender.host_link)
            identity = identity_on_link(sender.container_id, sender.interface)
            if link is not None and read_owner(link.alias).identity == identity:
                for name, part in elements_of(sender).items():
                    joined.setdefault(name, {}).update(part)
        return joined


def build_sender(attachment: Attachment, network: NetworkConfig, plan: Plan) -> Sender:
    """Build what an attachment may send as."""
    allowed = network.allowed_sources()
    return Sender(
        attachment.container_id,
        attachment.interface,
        attachment.network,
        plan.host.link,
        plan.pod.mac,
        tuple(str(address.ip) for address in plan.pod.addresses),
        # None in another: ranges of a set must not overlap.
        (
            *map(str, collapse_addresses(each for each in allowed if each.version == 4)),
            *map(str, collapse_addresses(each for each in allowed if each.version == 6)),
        ),
        network.source_check,
    )


def elements_of(sender: Sender) -> dict[str, dict[bytes, bytes]]:
    """Build the elements of an attachment: none if it is not checked."""
    if not sender.is_checked:
        return {}
    # What the kernel gives a link for itself (RFC 4291), wanted by every pod that speaks IPv6.
    addresses = (link_local(sender.mac), *map(ip_address, sender.addresses))
    return build_elements(sender.host_link, sender.mac, addresses, map(ip_network, sender.prefixes))


def _make(attachment: Attachment, network: NetworkConfig, folder: Path, plan: Plan) -> None:
    sender = build_sender(attachment, network, plan)
    wanted = elements_of(sender)
    with changing(folder, sender.host_link):
        there = read_link(folder, sender.host_link)
        # An earlier ADD's, and those of a sandbox that this one follows: the link is no longer its.
        stale = [each for each in there if each != sender]
        # Until the kernel has lost the old ones a file names them, so that whoever comes next finds them.
        for each in stale:
            _drop(_without(elements_of(each), wanted), folder)
        if sender not in there:
            write_sender(folder, sender)
        for each in stale:
            if each.file_name != sender.file_name:
                remove_sender(folder, each.file_name)
        if wanted:
            from cni.features.node_table import open_node_table

            with open_node_table(folder) as table:
                table.put(wanted)


def _release(folder: Path, name: str) -> None:
    with changing(folder, link_of(name)):
        sender = read_sender(folder, name)
        if sender is not None:
            gone: Elements = elements_of(sender)
            for other in read_link(folder, sender.host_link):
                if other != sender:
                    # The pod's next sandbox, whose link it is now, may send as the same.
                    gone = _without(gone, elements_of(other))
            _drop(gone, folder)
        remove_sender(folder, name)


def _without(elements: "Elements", kept: "Elements") -> "Elements":
    left = {
        name: {key: data for key, data in part.items() if key not in kept.get(name, ())}
        for name, part in elements.items()
    }
    return {name: part for name, part in left.items() if part}


def _drop(elements: "Elements", folder: Path) -> None:
    if elements:
        from cni.features.node_table import open_node_table

        with open_node_table(folder) as table:
            table.drop(elements)


def _find_differences(sender: Sender, folder: Path) -> list[str]:
    from cni.features.node_table import open_node_table

    wanted = elements_of(sender)
    with open_node_table(folder) as table:
        found = table.find(wanted)
    return [
        f"set {name} lacks {len(part) - len(found[name])} of {len(part)} elements of {sender.host_link}"
        for name, part in wanted.items()
        if found[name] != part
    ]


def _render(sender: Sender | None) -> str:
    if sender is None:
        return "nothing"
    return ", ".join((*sender.addresses, *sender.prefixes))
