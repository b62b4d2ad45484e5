"""What runs of a lab, read from the machine: the same rows that `up` leaves behind when all is well."""

from netns_lab.attachment import attached
from netns_lab.cluster import build_cluster
from netns_lab.faults.overlay import crashed, expected, frozen, overlay, overlay_plan
from netns_lab.faults.record import read_faults
from netns_lab.lab_server import cluster_api, load_remote
from netns_lab.loader import restore_lab
from netns_lab.plan import build_plan, pod_ends
from netns_lab.pod_routes import build_pod_routes, describe, read_pod_routes
from netns_lab.presence import read_running
from netns_lab.programs import completed, exit_codes
from netns_lab.programs import missing as missing_programs
from netns_lab.report import (
    client_rows,
    fault_rows,
    node_rows,
    pod_rows,
    router_rows,
    segment_rows,
    server_row,
    service_rows,
)
from netns_lab.state import StateDirectory
from netns_lab.trouble import Trouble
from netns_lab.wiring import diff_wiring
from netns_lab.wiring_kernel import read_wiring
from nodeplane.errors import NodeplaneError
from nodeplane.kube.objects import Object, ObjectKey, Pod
from nodeplane.reconcile.delta import diff


def read_status(state: StateDirectory) -> dict[str, object]:
    """Return a lab's report; `state` in it is `up` when nothing is missing, `incomplete` else.

    Raises:
        NodeplaneError: no `up` has come as far as keeping what it was asked for.
    """
    topology = state.load_topology()
    if topology is None:
        raise NodeplaneError(f"lab {state.lab} is half-built: run up again, or down")
    remote = load_remote(state)
    asked, faults = topology, read_faults(state)
    topology = overlay(asked, faults)
    plan = overlay_plan(build_plan(topology, state, remote), topology, faults)
    running = read_running(plan, state)
    addresses = attached(state, plan.attachments)
    wiring = diff_wiring(plan.wiring, list(read_wiring(state.lab, plan.wiring)))
    routes = diff(build_pod_routes(topology, addresses), read_pod_routes(state.lab))
    codes = exit_codes(state, plan.programs)
    missing = [
        *(str(fact) for fact in wiring.make),
        *(describe(state.lab, *route) for route in routes.upsert.items()),
        *(f"pod {pod.key} attached" for pod in topology.pods if pod.key not in addresses),
        *missing_programs(plan.programs, running, codes),
        *Trouble(state, asked, faults, plan).missing(),
    ]
    objects: list[Object] = []
    # One that does not run is missing already.
    is_stopped = plan.server.name in frozen(topology, faults)
    if not is_stopped and (remote is not None or plan.server.name in running):
        ends = pod_ends(topology, codes)
        known = restore_lab(expected(asked, faults), state.load_manifests())
        desired = build_cluster(known, addresses, ends, crashed(faults))
        # A pod that is not attached is missing already; one that has ended since is no damage.
        moving = [
            ObjectKey(Pod, pod.namespace, pod.name)
            for pod in topology.pods
            if pod.key in ends or pod.key not in addresses
        ]
        try:
            objects, different = cluster_api(state, remote).compare(desired, moving)
            missing += different
        except NodeplaneError as exc:
            missing.append(f"API server: {exc}")
    return {
        "lab": state.lab,
        "state": "incomplete" if missing else "up",
        "server": [server_row(topology, state.kubeconfig, remote, is_running=plan.server.name in running)],
        "segments": segment_rows(topology),
        "routers": router_rows(topology, running),
        "clients": client_rows(topology),
        "nodes": node_rows(topology, running),
        "pods": pod_rows(topology, addresses, running, completed(codes)),
        "services": service_rows(objects),
        "faults": fault_rows(faults),
        "missing": missing,
    }
