"""Pods joined to their nodes by the real CNI plugin, as a container runtime does it.

An attachment is recorded before its ADD with all that a DEL needs, and again with the result. So a killed ADD
is undone by the next command, and a pod is taken off its node in the way that it was put on.
"""

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import TypeVar

import msgspec

from netns_lab.cluster import PodAddresses
from netns_lab.launch import call
from netns_lab.names import UPLINK, fabric_namespace
from netns_lab.netlink import open_whole_rtnl
from netns_lab.programs import environment
from netns_lab.state import StateDirectory
from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import Address, Family, Interface, Link, Network
from nodeplane.errors import NodeplaneError
from nodeplane.json_decoder import decode_json

RECORDS = "attachments"

_FAMILIES: tuple[Family, ...] = (4, 6)
# SPEC section 5, "Try again later": for example, a killed command's ADD of the same pod is not at its end.
_TRY_AGAIN_LATER = 11
_AGAIN_S, _PAUSE_S = 60.0, 0.2

T = TypeVar("T")

Call = Callable[[tuple[str, ...], Mapping[str, str], str, bytes, Path], tuple[int, bytes]]
"""Runs a command in a namespace with an input; returns its exit code and output, see `programs.call`."""


class Attachment(msgspec.Struct, frozen=True):
    """A pod that is to be joined to a node; `config` is the CNI network configuration, in JSON."""

    pod: str
    container: str
    node_namespace: str
    pod_namespace: str
    plugin: str
    config: str


class AttachmentRecord(msgspec.Struct, frozen=True):
    """An attachment; `addresses` (with lengths) and `host_link` are empty until its ADD has succeeded."""

    attachment: Attachment
    addresses: tuple[str, ...] = ()
    host_link: str = ""

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        """The pod's addresses, IPv4 first."""
        found = map(ip_interface, self.addresses)
        return tuple(sorted(found, key=lambda interface: interface.version))


class _Interface(msgspec.Struct, frozen=True):
    name: str
    sandbox: str = ""


class _Ip(msgspec.Struct, frozen=True):
    address: str


class _Result(msgspec.Struct, frozen=True):
    """The parts of a CNI result (SPEC 1.1.0, section 5) that tell whether a pod is still attached."""

    interfaces: tuple[_Interface, ...]
    ips: tuple[_Ip, ...]


class _Error(msgspec.Struct, frozen=True):
    """A CNI error (SPEC 1.1.0, section 5)."""

    code: int
    msg: str
    details: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.msg, self.details) if part)


class _NodeView(msgspec.Struct, frozen=True):
    links: Mapping[str, Link]
    routes: frozenset[tuple[Network, str | None]]


def attached(state: StateDirectory, desired: Iterable[Attachment]) -> PodAddresses:
    """Return the addresses of each pod that is attached as desired, records and kernel agreeing."""
    nodes: dict[str, _NodeView] = {}
    found: dict[str, tuple[Address, ...]] = {}
    for attachment in desired:
        record = state.load_record(_record_name(attachment.pod), AttachmentRecord)
        if record is None or record.attachment != attachment or not record.addresses:
            continue
        if attachment.node_namespace not in nodes:
            nodes[attachment.node_namespace] = _read_node(attachment.node_namespace)
        if _is_whole(record, nodes[attachment.node_namespace]):
            found[attachment.pod] = _ips(record)
    return found


def unwanted(state: StateDirectory, desired: Iterable[Attachment], kept: Collection[str]) -> list[Attachment]:
    """Return the attachments, whole or begun, of pods that are not kept.

    Where the record is lost (somebody has removed the lab's files), a pod that has a link shows one.
    """
    records = (state.load_record(name, AttachmentRecord) for name in state.records(RECORDS))
    known = {record.attachment.pod: record.attachment for record in records if record is not None}
    unknown = (attachment for attachment in desired if attachment.pod not in {*known, *kept})
    found = [*known.values(), *(attachment for attachment in unknown if _has_link(attachment))]
    return sorted((entry for entry in found if entry.pod not in kept), key=lambda entry: entry.pod)


def host_link(state: StateDirectory, pod: str) -> str:
    """Return the name of the node's end of an attached pod's link.

    Raises:
        NodeplaneError: the pod is not attached.
    """
    record = state.load_record(_record_name(pod), AttachmentRecord)
    if record is None or not record.host_link:
        raise NodeplaneError(f"pod {pod} is not attached")
    return record.host_link


def attach(state: StateDirectory, attachments: Iterable[Attachment], caller: Call = call) -> PodAddresses:
    """Run ADD for each, several at a time, and return the pods' addresses.

    Raises:
        NodeplaneError: the plugin refused; carries its message.
    """
    return dict(_in_parallel(lambda attachment: _attach(state, attachment, caller), attachments))


def detach(state: StateDirectory, attachments: Iterable[Attachment]) -> None:
    """Run DEL for each, several at a time, and forget them; what is not there is fine (SPEC: DEL).

    Raises:
        NodeplaneError: the plugin refused; carries its message.
    """
    _in_parallel(lambda attachment: _detach(state, attachment), attachments)


def _attach(state: StateDirectory, attachment: Attachment, caller: Call) -> tuple[str, tuple[Address, ...]]:
    name = _record_name(attachment.pod)
    state.save_record(name, AttachmentRecord(attachment))
    result = decode_json(_run(state, "ADD", attachment, caller), _Result)
    # An interface with a sandbox is inside the container, one without is on the host (SPEC, section 5).
    host_link = next(interface.name for interface in result.interfaces if not interface.sandbox)
    record = AttachmentRecord(attachment, tuple(ip.address for ip in result.ips), host_link)
    state.save_record(name, record)
    return attachment.pod, _ips(record)


def _detach(state: StateDirectory, attachment: Attachment) -> None:
    _run(state, "DEL", attachment, call)
    state.drop_record(_record_name(attachment.pod))


def _run(state: StateDirectory, command: str, attachment: Attachment, caller: Call) -> bytes:
    namespace, _, name = attachment.pod.partition("/")
    node = attachment.node_namespace
    if not netns.is_namespace(netns.NETNS_DIR / node):
        # DEL for a pod whose node is gone still has an address to give back, and may run on any node.
        node = fabric_namespace(state.lab)
    log = state.log_file(f"cni/{attachment.container}")
    log.parent.mkdir(parents=True, exist_ok=True)
    marks = {
        **environment(state.lab, f"cni/{attachment.container}"),
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": attachment.container,
        "CNI_NETNS": str(netns.NETNS_DIR / attachment.pod_namespace),
        "CNI_IFNAME": UPLINK,
        "CNI_PATH": os.path.dirname(attachment.plugin),
        "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}",
    }
    last_s = time.monotonic() + _AGAIN_S
    while True:
        code, output = caller((attachment.plugin,), marks, node, attachment.config.encode(), log)
        if code == 0:
            return output
        error = _decode_error(output)
        if error.code != _TRY_AGAIN_LATER or time.monotonic() > last_s:
            raise NodeplaneError(f"CNI {command} of pod {attachment.pod}: {error}; see {log}")
        time.sleep(_PAUSE_S)


def _decode_error(output: bytes) -> _Error:
    try:
        return decode_json(output, _Error)
    except msgspec.DecodeError:
        return _Error(0, "ended without a result")


def _read_node(namespace: str) -> _NodeView:
    path = netns.NETNS_DIR / namespace
    if not netns.is_namespace(path):
        return _NodeView({}, frozenset())
    with open_whole_rtnl(path) as rtnl:
        routes = [route for family in _FAMILIES for route in rtnl.routes(family=family)]
        return _NodeView(rtnl.links(), frozenset((route.destination, route.link) for route in routes))


def _is_whole(record: AttachmentRecord, node: _NodeView) -> bool:
    """Say whether the pod's link is there with its addresses, joined to its node, which has the routes."""
    path = netns.NETNS_DIR / record.attachment.pod_namespace
    host = node.links.get(record.host_link)
    if host is None or not netns.is_namespace(path):
        return False
    with open_whole_rtnl(path) as rtnl:
        link = rtnl.links().get(UPLINK)
        if link is None:
            return False
        held = {address for family in _FAMILIES for address in rtnl.addresses(UPLINK, family)}
    joined = link.peer_index == host.index and host.peer_index == link.index
    wanted = {(ip_network(address.ip), record.host_link) for address in record.interfaces}
    is_addressed = held.issuperset(record.interfaces) and node.routes >= wanted
    return joined and link.is_up and host.is_up and is_addressed


def _ips(record: AttachmentRecord) -> tuple[Address, ...]:
    return tuple(interface.ip for interface in record.interfaces)


def _has_link(attachment: Attachment) -> bool:
    with open_whole_rtnl(netns.NETNS_DIR / attachment.pod_namespace) as rtnl:
        return UPLINK in rtnl.links()


def _in_parallel(work: Callable[[Attachment], T], attachments: Iterable[Attachment]) -> list[T]:
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as executor:
        futures = [executor.submit(work, attachment) for attachment in attachments]
        try:
            return [future.result() for future in futures]
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def _record_name(pod: str) -> str:
    return f"{RECORDS}/{pod}"
