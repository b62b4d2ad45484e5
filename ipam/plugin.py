"""The CNI IPAM plugin `nodeplane-ipam`: all commands of CNI SPEC 1.1.0 section 4.

Another plugin runs it with its own environment and its whole network configuration. On the path of every pod
start: imports stay few.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from ipam.allocator import Allocator
from ipam.answer import build_answer
from ipam.config import DEFAULT_DATASTORE, NetworkConfig, build_policy, build_supply, default_node_name
from ipam.datastore import Datastore, open_datastore
from ipam.errors import CNI_CODES
from ipam.leaks import look_from, netns_exists
from ipam.model import Allocation, Handle
from ipam.pod_request import build_request
from ipam.request_stats import RequestStats, send_stats
from ipam.store import Counters
from nodeplane.cniresult import Result
from nodeplane.cnispec import Command, Request, decode_config, run_plugin


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
    config = decode_config(request.config, NetworkConfig)
    if config.ipam.data_dir:
        note = f"ipam.dataDir is host-local's and not used: addresses are in {config.ipam.datastore}"
        print(f"nodeplane-ipam: {note}", file=sys.stderr)
    supply, policy = build_supply(config), build_policy(config.ipam)
    # All that can be wrong with the rest comes before an address is taken.
    answer = build_answer(config, supply)
    wish = build_request(request, config, supply)
    with _opened(config.ipam.datastore, "ADD") as datastore:
        return answer.render(Allocator(datastore, supply.pools, policy).assign(wish))


def delete(request: Request) -> None:
    """Free what the attachment holds, however little the configuration has otherwise.

    It succeeds when there is nothing to free, so that pools and names, which ADD needs, must not stand in its
    way.
    """
    config = decode_config(request.config, _StoreOnly)
    # The same container id on another node is another attachment.
    node = config.node_name or default_node_name()
    here = look_from(node)

    def is_own(item: Allocation) -> bool:
        """Say whether it is ours, though the configuration had another node name then."""
        return here.is_of_boot(item) and (item.netns == request.netns or not netns_exists(item.netns))

    with _opened(config.ipam.datastore, "DEL") as datastore:
        Allocator(datastore, ()).release(Handle(request.container_id, request.interface, node), is_own)


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


@contextmanager
def _opened(url: str, operation: str) -> Iterator[Datastore]:
    """Open the datastore; tell the agent afterwards what the request cost."""
    started_s = time.perf_counter()
    outcome, counters = "error", Counters()
    try:
        with open_datastore(url) as datastore:
            counters = datastore.counters
            yield datastore
        outcome = "ok"
    finally:
        seconds = time.perf_counter() - started_s
        costs = counters.transactions, counters.conflicts, counters.reads
        send_stats(RequestStats(operation, outcome, seconds, *costs))
