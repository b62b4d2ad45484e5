"""The commands of `nodeplane-ipam` that no pod start waits for: CHECK, GC and STATUS."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_interface

import msgspec

from ipam.allocator import Allocator
from ipam.collection import by_handle, free
from ipam.config import NetworkConfig, build_node_name, build_policy, build_supply
from ipam.datastore import Datastore, open_datastore, rehearse
from ipam.errors import DatastoreError, ExhaustedError, NoDatastoreError
from ipam.ledger import LedgerReader
from ipam.model import Address, Allocation, Handle, PodRef, Pool, Request
from ipam.pod_request import kubernetes_of
from nodeplane import cnispec
from nodeplane.cnispec import PLACE, CniError, ErrorCode, decode_config, tell
from nodeplane.errors import ApiError, ConfigError, NodeplaneError

ADDRESS_LOST = 102
"""Our own error code (SPEC: 100 and above): CHECK found that the attachment does not hold its addresses."""


class _PrevIp(msgspec.Struct, frozen=True):
    address: str


class _PrevResult(msgspec.Struct, frozen=True):
    ips: tuple[_PrevIp, ...] | None = None


class _CheckConfig(msgspec.Struct, frozen=True, rename="camel"):
    prev_result: _PrevResult | None = None


class _Attachment(msgspec.Struct, frozen=True):
    container_id: str = msgspec.field(name="containerID")
    interface: str = msgspec.field(name="ifname")


class _GcConfig(msgspec.Struct, frozen=True):
    valid: tuple[_Attachment, ...] | msgspec.UnsetType | None = msgspec.field(
        name="cni.dev/valid-attachments", default=msgspec.UNSET
    )


def check(request: cnispec.Request) -> None:
    """Compare what the attachment holds with the result that the runtime has of it.

    Addresses of the result that are of none of our pools are other plugins' (SPEC section 2, CHECK: what
    later plugins changed is tolerated).

    Raises:
        CniError: it holds nothing, or something else.
    """
    config = decode_config(request.config, NetworkConfig)
    previous = decode_config(request.config, _CheckConfig).prev_result
    if previous is None:
        raise ConfigError(PLACE, "prevResult", "expected, but missing")
    told = [_decode(ip.address, index) for index, ip in enumerate(previous.ips or ())]
    handle = Handle(request.container_id, request.interface, build_node_name(config))

    def look(ledger: LedgerReader) -> tuple[list[Address], list[Address]]:
        found = (ledger.allocation(address) for address in ledger.addresses(handle))
        held = [item.address for item in found if item is not None and item.handle == handle]
        ours = [address for address in told if _is_of(address, ledger.pools())]
        return held, ours

    with open_datastore(config.ipam.datastore, create=False) as datastore:
        held, ours = datastore.read(look)
    if not held:
        raise CniError(ADDRESS_LOST, f"{handle} holds no address", f"prevResult has {_text(told)}")
    if set(held) != set(ours):
        raise CniError(
            ADDRESS_LOST, f"{handle} holds {_text(held)}", f"prevResult has {_text(ours)} of our pools"
        )


def collect_garbage(request: cnispec.Request) -> None:
    """Free what this node holds for this network and the runtime does not know.

    The runtime runs no ADD or DEL meanwhile (SPEC section 2, GC). An error with one does not keep the others.
    Where no datastore is there is no garbage: that is told, for its URL may be mistyped.

    Raises:
        ConfigError: the list of valid attachments is missing: everything would be freed.
    """
    config = decode_config(request.config, NetworkConfig)
    valid = decode_config(request.config, _GcConfig).valid
    if valid is msgspec.UNSET:
        raise ConfigError(PLACE, "cni.dev/valid-attachments", "expected, but missing")
    node = build_node_name(config)
    known = {Handle(item.container_id, item.interface, node) for item in valid or ()}

    def is_left(item: Allocation) -> bool:
        is_ours = (item.node, item.network, item.use) == (node, request.network, "pod")
        return is_ours and item.handle not in known

    failed: list[NodeplaneError] = []
    try:
        with open_datastore(config.ipam.datastore, create=False) as datastore:
            for group in by_handle(filter(is_left, datastore.read(LedgerReader.sound_allocations))):
                try:
                    # Freed only as it was seen: who holds it by now may be another.
                    free(datastore, group, _now_s())
                except NodeplaneError as exc:
                    failed.append(exc)
    except NoDatastoreError as exc:
        tell(f"nodeplane-ipam: {exc}: nothing to free")
    if failed:
        raise failed[0]


def status(request: cnispec.Request) -> None:
    """Try whether an ADD would get an address, without taking one, nor making the datastore.

    Raises:
        CniError: 50 when there is none, or Kubernetes, which knows the node's labels, does not answer; 51
            when the datastore can't be used, so that routes to other nodes' new blocks do not come either.
    """
    config = decode_config(request.config, NetworkConfig)
    supply, policy = build_supply(config), build_policy(config.ipam)
    try:
        wish = _build_probe(request, config, supply.sets)
        with _as_for_add(config.ipam.datastore) as datastore:
            # A selector of namespaces says nothing about a node.
            pools = [_of_any_namespace(pool) for pool in supply.pools or datastore.read(LedgerReader.pools)]
            Allocator(datastore, pools, policy).probe(wish)
    except (ExhaustedError, ApiError) as exc:
        raise CniError(ErrorCode.NOT_AVAILABLE, "no address can be given", str(exc)) from exc
    except DatastoreError as exc:
        raise CniError(ErrorCode.NOT_AVAILABLE_LIMITED, "the datastore can't be used", str(exc)) from exc


@contextmanager
def _as_for_add(url: str) -> Iterator[Datastore]:
    """Open the datastore; where none is, one in memory that is as empty as what an ADD would make."""
    try:
        found = open_datastore(url, create=False)
    except NoDatastoreError:
        found = rehearse(url)
    with found:
        yield found


def _build_probe(
    request: cnispec.Request, config: NetworkConfig, sets: tuple[tuple[str, ...], ...]
) -> Request:
    node = build_node_name(config)
    field, where = kubernetes_of(config)
    labels = None
    if where is not None:
        from ipam.cluster import read_pod_facts

        labels = read_pod_facts(where, PodRef(), node, field).node_labels
    return Request(
        # No container id has a colon (SPEC section 2).
        handle=Handle("status:", "status", node),
        pod=PodRef(),
        node=node,
        netns="",
        now_s=_now_s(),
        ipv4_pools=config.ipam.ipv4_pools,
        ipv6_pools=config.ipam.ipv6_pools,
        sets=sets,
        node_labels=labels,
        network=request.network,
    )


def _of_any_namespace(pool: Pool) -> Pool:
    return msgspec.structs.replace(pool, namespace_selector="")


def _decode(text: str, index: int) -> Address:
    try:
        return ip_interface(text).ip
    except ValueError as exc:
        field = f"prevResult.ips[{index}].address"
        raise ConfigError(PLACE, field, f"expected an address: {exc}") from exc


def _is_of(address: Address, pools: tuple[Pool, ...]) -> bool:
    return any(address in pool.network for pool in pools)


def _text(addresses: list[Address]) -> str:
    return ", ".join(map(str, addresses)) or "none"


def _now_s() -> int:
    return int(time.time())
