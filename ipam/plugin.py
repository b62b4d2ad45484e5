"""The CNI IPAM plugin `nodeplane-ipam`: all commands of CNI SPEC 1.1.0 section 4.

Another plugin runs it with its own environment and its whole network configuration. On the path of every pod
start: imports stay few.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import msgspec

from ipam.allocator import Allocator
from ipam.answer import build_answer
from ipam.config import (
    DEFAULT_DATASTORE,
    NetworkConfig,
    Supply,
    build_policy,
    build_supply,
    default_node_name,
)
from ipam.datastore import Datastore
from ipam.errors import CNI_CODES, NoDatastoreError
from ipam.leaks import look_from, netns_exists
from ipam.log_sync import after_sync
from ipam.model import Allocation, Handle, Policy
from ipam.pod_request import build_request
from ipam.request_stats import RequestStats, send_stats
from ipam.store import Counters
from ipam.warm_store import opened
from nodeplane.cniresult import Result
from nodeplane.cnispec import Command, Request, decode_config, run_plugin, tell


def main() -> int:
    """Serve one CNI call; return the exit code."""
    return run_plugin("nodeplane-ipam: CNI IPAM plugin of nodeplane", COMMANDS, CNI_CODES)


class _StoreSection(msgspec.Struct, frozen=True):
    datastore: str = DEFAULT_DATASTORE


class _StoreOnly(msgspec.Struct, frozen=True):
    """What DEL needs, whatever became of the rest of the configuration (SPEC section 2, DEL)."""

    ipam: _StoreSection = _StoreSection()
    node_name: str = msgspec.field(name="nodeName", default="")


def add(request: Request) -> Result:
    """Give the attachment its addresses; a repeated ADD gets the same ones.

    Raises:
        ConfigError: a field of the configuration is wrong.
        NodeplaneError: no address is to be had; nothing was written.
    """
    config, supply, policy = _read_config(request.config)
    if config.ipam.data_dir:
        note = f"ipam.dataDir is host-local's and not used: addresses are in {config.ipam.datastore}"
        tell(f"nodeplane-ipam: {note}")
    # All that can be wrong with the rest comes before an address is taken.
    answer = build_answer(config, supply)
    wish = build_request(request, config, supply)
    with _opened(config.ipam.datastore, "ADD") as datastore:
        return answer.render(Allocator(datastore, supply.pools, policy).assign(wish))


def delete(request: Request) -> None:
    """Free what the attachment holds, however little the configuration has otherwise.

    It succeeds when there is nothing to free, so that pools and names, which ADD needs, must not stand in its
    way; nor a datastore that is not there, which is told, for its URL may be mistyped.
    """
    config = decode_config(request.config, _StoreOnly)
    # The same container id on another node is another attachment.
    node = config.node_name or default_node_name()
    here = look_from(node)

    def is_own(item: Allocation) -> bool:
        """Say whether it is ours, though the configuration had another node name then."""
        return here.is_of_boot(item) and (item.netns == request.netns or not netns_exists(item.netns))

    handle = Handle(request.container_id, request.interface, node)
    try:
        with _opened(config.ipam.datastore, "DEL", create=False) as datastore:
            Allocator(datastore, ()).release(handle, is_own)
    except NoDatastoreError as exc:
        tell(f"nodeplane-ipam: {exc}: nothing to free for {handle}")


def check(request: Request) -> None:
    """See `ipam.plugin_upkeep`: few calls need it."""
    from ipam import plugin_upkeep

    plugin_upkeep.check(request)


def collect_garbage(request: Request) -> None:
    """See `ipam.plugin_upkeep`."""
    from ipam import plugin_upkeep

    plugin_upkeep.collect_garbage(request)


def status(request: Request) -> None:
    """See `ipam.plugin_upkeep`."""
    from ipam import plugin_upkeep

    plugin_upkeep.status(request)


COMMANDS: dict[str, Command] = {
    "ADD": add,
    "DEL": delete,
    "CHECK": check,
    "GC": collect_garbage,
    "STATUS": status,
}


# A daemon gets the same text for most pods, and parsing its networks is the slowest of it.
@lru_cache(maxsize=16)
def _read_config(text: bytes) -> tuple[NetworkConfig, Supply, Policy]:
    config = decode_config(text, NetworkConfig)
    return config, build_supply(config), build_policy(config.ipam)


@contextmanager
def _opened(url: str, operation: str, *, create: bool = True) -> Iterator[Datastore]:
    """Open the datastore; tell the agent afterwards what the request cost."""
    started_s = time.perf_counter()
    outcome, counters = "error", Counters()
    try:
        with opened(url, create=create) as datastore:
            counters = datastore.counters
            yield datastore
        outcome = "ok"
    except NoDatastoreError:
        # Nothing is there, so there is nothing to do.
        outcome = "ok"
        raise
    finally:
        costs = counters.transactions, counters.conflicts, counters.reads

        def tell_cost(is_synced: bool) -> None:
            seconds = time.perf_counter() - started_s
            send_stats(RequestStats(operation, outcome if is_synced else "error", seconds, *costs))

        after_sync(tell_cost)
