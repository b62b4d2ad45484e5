"""Which API server a lab has, and how it is reached; what it and the address datastore begin with."""

from pathlib import Path

import msgspec

from netns_lab.address_plan import build_address_plan
from netns_lab.cluster_api import ClusterApi, Report
from netns_lab.names import fabric_namespace
from netns_lab.remote_server import RemoteServer, read_remote, render_inside
from netns_lab.state import StateDirectory, write_file
from netns_lab.topology import Network, Topology
from nodeplane.datapath import netns
from nodeplane.errors import ConfigError

_SERVER_RECORD = "server"
_RANGES_RECORD = "ranges"
_POOL_RECORD = "pool"


class ServerRecord(msgspec.Struct, frozen=True):
    """Which API server a lab has: its own, or another."""

    remote: RemoteServer | None


class RangesRecord(msgspec.Struct, frozen=True):
    """Where the addresses come from that the lab's own API server has given out."""

    services: str
    pods: str


class PoolRecord(msgspec.Struct, frozen=True):
    """What the address datastore gives pods' addresses from."""

    cidr: str
    block_sizes: tuple[int, int]
    mode: str


def cluster_api(state: StateDirectory, remote: RemoteServer | None) -> ClusterApi:
    """Return the edge to a lab's API server: its own is reached from the fabric, another from here."""
    if remote is not None:
        return ClusterApi(state.lab, Path(remote.kubeconfig), None)
    return ClusterApi(state.lab, state.kubeconfig, netns.NETNS_DIR / fabric_namespace(state.lab))


def load_remote(state: StateDirectory) -> RemoteServer | None:
    """Return the API server that a lab has in the place of its own; None if it has its own."""
    record = state.load_record(_SERVER_RECORD, ServerRecord)
    return None if record is None else record.remote


def choose_server(state: StateDirectory, asked: RemoteServer | None) -> RemoteServer | None:
    """Return the API server of a lab: the one that it has, else what is asked for; None for its own.

    Raises:
        ConfigError: it has another one than what is asked for, or that one's file is wrong by now.
    """
    record = state.load_record(_SERVER_RECORD, ServerRecord)
    chosen = asked
    if record is not None:
        file = "" if record.remote is None else record.remote.kubeconfig
        if asked is not None and asked.kubeconfig != file:
            held = file or "its own API server"
            raise ConfigError(
                "--kubeconfig", "", f"expected the one of lab {state.lab}, {held}: run `down` first"
            )
        # Read anew: the file may lead to another address of the server by now.
        chosen = read_remote(Path(file)) if file else None
    if record != ServerRecord(chosen):
        state.save_record(_SERVER_RECORD, ServerRecord(chosen))
    return chosen


def prepare_server(
    state: StateDirectory,
    remote: RemoteServer | None,
    topology: Topology,
    report: Report,
    *,
    is_running: bool,
) -> None:
    """Put in place what the API server, or the way to it, starts with."""
    if remote is not None:
        _write_kubeconfig(state, remote, topology, report)
    elif not is_running:
        _clear_old_ranges(state, topology.network, report)


def _clear_old_ranges(state: StateDirectory, network: Network, report: Report) -> None:
    """Begin with an empty API server where addresses come from other ranges: what it holds has old ones."""
    ranges = RangesRecord(network.service_cidr, network.pod_pool)
    record = state.load_record(_RANGES_RECORD, RangesRecord)
    if record == ranges:
        return
    _remove_database(state, state.server_data / "apiserver.sqlite", report)
    state.save_record(_RANGES_RECORD, ranges)


def begin_datastore(state: StateDirectory, network: Network, report: Report) -> None:
    """Begin with an empty address datastore where the pool is another; call while no pod has an address."""
    pool = PoolRecord(network.pod_pool, (network.block_size, network.block_size6), network.mode)
    if state.load_record(_POOL_RECORD, PoolRecord) == pool:
        return
    _remove_database(state, state.datastore, report)
    state.save_record(_POOL_RECORD, pool)


def _remove_database(state: StateDirectory, path: Path, report: Report) -> None:
    """Remove a database with its journals, which go last: without them it could not be read."""
    for file in sorted(path.parent.glob(f"{path.name}*")):
        file.unlink()
        report("removed", file.relative_to(state.path))


def _write_kubeconfig(
    state: StateDirectory, remote: RemoteServer, topology: Topology, report: Report
) -> None:
    content = render_inside(Path(remote.kubeconfig), build_address_plan(topology).server)
    if not state.kubeconfig.exists() or state.kubeconfig.read_bytes() != content:
        write_file(state.kubeconfig, content, mode=0o600)
        report("wrote", state.kubeconfig.relative_to(state.path))
