"""What a lab that is up has become: its pods' addresses and its API server's objects."""

import msgspec

from netns_lab.attachment import attached
from netns_lab.cluster import PodAddresses, build_cluster
from netns_lab.faults.overlay import frozen
from netns_lab.faults.record import read_faults
from netns_lab.lab_server import cluster_api, load_remote
from netns_lab.loader import restore_lab
from netns_lab.plan import build_plan
from netns_lab.state import StateDirectory
from netns_lab.topology import Topology
from nodeplane.errors import NodeplaneError
from nodeplane.kube.objects import Object


class Live(msgspec.Struct, frozen=True):
    """Addresses of the pods that are attached, and all objects of the lab's kinds.

    Without the API server there are no objects; `trouble` says why.
    """

    addresses: PodAddresses
    objects: tuple[Object, ...]
    trouble: str = ""


def read_live(state: StateDirectory, topology: Topology) -> Live:
    """Read what there is; changes nothing, and fails for no API server that is away."""
    remote = load_remote(state)
    plan = build_plan(topology, state, remote)
    addresses = attached(state, plan.attachments)
    # It would take the connection and never answer.
    if plan.server.name in frozen(topology, read_faults(state)):
        return Live(addresses, (), "API server: frozen by a fault")
    desired = build_cluster(restore_lab(topology, state.load_manifests()), addresses)
    try:
        objects, _ = cluster_api(state, remote).compare(desired)
    except NodeplaneError as exc:
        return Live(addresses, (), f"API server: {exc}")
    return Live(addresses, tuple(objects))
