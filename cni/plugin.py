"""The CNI plugin `nodeplane-cni`: the commands of SPEC 1.1.0, and in which order ADD and DEL do things.

An address is assigned before it is on a link, and released after that link is gone, so that no two pods ever
have one address; what is half done is undone before an error is reported, and completed by the next ADD or
removed by the next DEL if this process is killed.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from cni.attachment import HOST_LINK_PREFIX, Attachment, Found, build_attachment, is_ours, judge_links
from cni.call_lock import exclusive, find_socket, lock_file
from cni.error_codes import INTERFACE_EXISTS
from cni.features.feature import FEATURES
from cni.features.masquerade import ensure_masquerade
from cni.ipam_delegate import call_ipam, find_ipam, needs_link, pod_addresses
from cni.network_config import NetworkConfig, check_args, decode_ipam_type, decode_network
from cni.pod_netns import find_pod_link, require_netns, require_only
from cni.prev_result import append_result, decode_result, decode_routes
from cni.wiring.apply import adopt_links, apply_plan, create_links, remove_links
from cni.wiring.free_address import require_free
from cni.wiring.ipv6_node import ensure_forwarding, require_ipv6
from cni.wiring.mtu import read_pod_mtu
from cni.wiring.plan import MIN_IPV6_MTU_BYTES, Plan, build_plan, build_result
from ipam.errors import CNI_CODES
from ipam.log_sync import syncing_later
from nodeplane import cniresult
from nodeplane.cniresult import Result
from nodeplane.cnispec import PLACE, CniError, Command, Request, answer_call, run_plugin
from nodeplane.datapath.rtnl import Address, Rtnl, open_rtnl
from nodeplane.datapath.sysctl import KernelSysctls, Sysctls
from nodeplane.errors import ConfigError, NodeplaneError

log = logging.getLogger(__name__)

_ABOUT = "nodeplane-cni: CNI plugin of nodeplane"


def main() -> int:
    """Serve one CNI call; return the exit code."""
    lock = lock_file(find_socket(os.environ))
    return run_plugin(_ABOUT, exclusive({**commands(), "ADD": _add_without_agent}, lock), CNI_CODES)


def answer(environ: Mapping[str, str], config: bytes, lock: Path) -> tuple[int, bytes]:
    """Answer one CNI call: the exit code and the JSON for stdout, whoever makes it (`cni.calls.server`)."""
    return answer_call(environ, config, exclusive(commands(), lock), CNI_CODES)


def commands() -> dict[str, Command]:
    """Return what is done for each command."""
    return {"ADD": add, "DEL": delete, "CHECK": check, "GC": collect_garbage, "STATUS": status}


class _Wishes(msgspec.Struct, frozen=True):
    """What the configuration and the runtime ask for, decoded before anything is made."""

    network: NetworkConfig
    mtu_bytes: int
    pod_mac: str
    routes: tuple[cniresult.Route, ...]
    previous: Result | None


def add(request: Request) -> Result:
    """Give a container its interface and its addresses; a repeated ADD finds them and answers the same.

    Raises:
        CniError: the namespace is not there or our own, or has a foreign interface of that name.
        NodeplaneError: no address is to be had, or the kernel refused; what was done is undone.
    """
    check_args(request.args)
    network, attachment = decode_network(request.config), build_attachment(request)
    makers = [feature.prepare(request) for feature in FEATURES]
    path = require_netns(attachment, request.environ)
    kind, sysctls = network.ipam.type, KernelSysctls()
    with (
        open_rtnl(is_brief=True) as host,
        open_rtnl(path, is_brief=True) as pod,
        _undo_on_error() as undo,
        syncing_later() as await_disk,
    ):
        wishes = _read_wishes(network, request, host)
        found = _make_room(attachment, host, pod)
        is_there = found == "ours"
        if needs_link(kind):
            bare = _build_plan(attachment, path, wishes, sysctls, ())
            undo(lambda: remove_links(host, [attachment.host_link]))
            _ensure_links(bare, host, pod, is_there=is_there)
            apply_plan(bare, host, pod, sysctls, KernelSysctls(path))
            is_there = True
        # SPEC section 4: an IPAM plugin that failed is run again, with DEL.
        undo(lambda: call_ipam(kind, "DEL", request))
        given = find_ipam(kind)["ADD"](request) or Result()
        wishes = msgspec.structs.replace(wishes, routes=(*wishes.routes, *given.routes))
        plan = _build_plan(attachment, path, wishes, sysctls, pod_addresses(given))
        if 6 in plan.families:
            _prepare_ipv6(plan, sysctls, host)
        require_free(plan, host, pod)
        undo(lambda: remove_links(host, [plan.host.link]))
        _ensure_links(plan, host, pod, is_there=is_there)
        apply_plan(plan, host, pod, sysctls, KernelSysctls(path))
        undo(lambda: _remove_features(attachment, find_socket(request.environ).parent))
        for make in makers:
            make(plan, found)
        # All of the above can be made without it, but no pod may have an address that a crash takes back.
        await_disk()
    result = build_result(plan, network.result_dns(given.dns))
    return result if wishes.previous is None else append_result(wishes.previous, result)


def _add_without_agent(request: Request) -> Result:
    """Do an ADD, and before it what else the agent does."""
    ensure_masquerade(request, decode_ipam_type(request.config))
    return add(request)


def delete(request: Request) -> None:
    """Take a container's interface and addresses away; whatever is gone already is fine.

    Raises:
        NodeplaneError: the kernel or the datastore refused; the runtime calls again.
    """
    kind, attachment = decode_ipam_type(request.config), build_attachment(request)
    if not kind:
        log.warning(
            "configuration without IPAM plugin: no address is released container=%s", request.container_id
        )
    _remove_features(attachment, find_socket(request.environ).parent)
    with open_rtnl(is_brief=True) as host:
        remove_links(host, _own_links(attachment, host))
    call_ipam(kind, "DEL", request)


def check(request: Request) -> None:
    """See `cni.check`: no pod start waits for it."""
    from cni.check import check_attachment

    check_attachment(request)


def collect_garbage(request: Request) -> None:
    """See `cni.garbage`."""
    from cni.garbage import collect

    collect(request)


def status(request: Request) -> None:
    """See `cni.status`."""
    from cni.status import report_status

    report_status(request)


def _read_wishes(network: NetworkConfig, request: Request, host: Rtnl) -> _Wishes:
    """Decode all that can be wrong with the configuration.

    Raises:
        ConfigError: a field is wrong.
    """
    return _Wishes(
        network=network,
        mtu_bytes=network.mtu_bytes or read_pod_mtu(host, network.encapsulation),
        pod_mac=network.pod_mac(request.args),
        routes=tuple(decode_routes(network.routes, "routes")),
        previous=None if network.prev_result is None else decode_result(network.prev_result),
    )


def _build_plan(
    attachment: Attachment, path: Path, wishes: _Wishes, sysctls: Sysctls, addresses: tuple[Address, ...]
) -> Plan:
    return build_plan(
        attachment,
        path,
        addresses,
        mtu_bytes=wishes.mtu_bytes,
        is_arp_strict=sysctls.read("net.ipv4.conf.all.arp_ignore") != "0",
        host_mac=wishes.network.host_mac,
        pod_mac=wishes.pod_mac,
        routes=wishes.routes,
        is_loose=not wishes.network.is_route_back_needed,
    )


def _prepare_ipv6(plan: Plan, sysctls: Sysctls, host: Rtnl) -> None:
    """Make sure that the node can do what the plan asks of IPv6.

    Raises:
        CniError: IPv6 is off.
        ConfigError: the MTU is too small for IPv6.
    """
    require_ipv6(sysctls)
    if plan.mtu_bytes < MIN_IPV6_MTU_BYTES:
        expected = f"expected at least {MIN_IPV6_MTU_BYTES} bytes for an IPv6 address, got {plan.mtu_bytes}"
        raise ConfigError(PLACE, "mtu", expected)
    ensure_forwarding(sysctls, host)


def _make_room(attachment: Attachment, host: Rtnl, pod: Rtnl) -> Found:
    """Remove what an earlier sandbox left under our names; say whether there is nothing, or our own links.

    Raises:
        CniError: the pod has an interface of that name which is not ours, or one of ours by another name.
    """
    links = pod.links()
    require_only(pod, links, attachment.interface)
    found = judge_links(attachment, host.find_link(attachment.host_link), links.get(attachment.interface))
    if found == "foreign":
        raise CniError(
            INTERFACE_EXISTS,
            f"interface {attachment.interface} exists in the container and is not ours",
            f"in {attachment.netns}",
        )
    if found == "stale":
        remove_links(host, [attachment.host_link])
        return "nothing"
    return found


def _ensure_links(plan: Plan, host: Rtnl, pod: Rtnl, *, is_there: bool) -> None:
    if is_there:
        adopt_links(plan, host, pod)
    else:
        create_links(plan, host)


def _remove_features(attachment: Attachment, folder: Path) -> None:
    for feature in reversed(FEATURES):
        feature.remove(attachment, folder)


def _own_links(attachment: Attachment, host: Rtnl) -> list[str]:
    """Return the names of the host's links that belong to an attachment, whatever CNI_ARGS its DEL brings.

    A DEL need not repeat them (SPEC section 2 asks the runtime, "should"), and they name the link. Were one
    left, its pod would go on with an address that is free for the next.
    """
    named = host.find_link(attachment.host_link)
    if named is not None and attachment.is_named_by(named.alias):
        return [named.name]
    pod = find_pod_link(attachment)
    if named is not None and is_ours(attachment, named, pod):
        return [named.name]
    ours = (link for link in host.links().values() if link.name.startswith(HOST_LINK_PREFIX))
    return [link.name for link in ours if is_ours(attachment, link, pod)]


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
    except NodeplaneError as exc:
        # What made ADD fail may make this fail too (an IPAM plugin that can't be had).
        log.warning("could not undo a step of ADD, DEL will error=%r", str(exc))
