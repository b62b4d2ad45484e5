"""What `up` would do, without doing it: `up --dry-run`."""

from collections.abc import Iterator
from ipaddress import IPv4Address

from netns_lab.attachment import attached, unwanted
from netns_lab.changes import Change
from netns_lab.cluster import PodAddresses, build_cluster
from netns_lab.faults.record import read_faults
from netns_lab.lab_server import cluster_api, load_remote
from netns_lab.loader import LabSpec
from netns_lab.plan import CONFIG, Plan, build_plan, pod_ends
from netns_lab.pod_routes import build_pod_routes, describe, read_pod_routes
from netns_lab.presence import homes, read_running
from netns_lab.processes import lab_processes
from netns_lab.programs import completed, exit_codes, to_stop
from netns_lab.remote_server import RemoteServer
from netns_lab.state import StateDirectory
from netns_lab.wiring import diff_wiring
from netns_lab.wiring_kernel import lab_namespaces, read_wiring
from nodeplane.reconcile.delta import diff

# Which address a pod gets is known when it has it.
_UNKNOWN = (IPv4Address("0.0.0.0"),)  # noqa: S104 - no socket is bound to it


def read_difference(spec: LabSpec, state: StateDirectory, remote: RemoteServer | None) -> list[Change]:
    """Return what `up` would make, start, attach and remove; nothing is written.

    Raises:
        NodeplaneError: an object is in the way that is not the lab's, or the API server can't be reached.
    """
    remote = remote if remote is not None else load_remote(state)
    plan = build_plan(spec.topology, state, remote)
    return [
        *(Change("end", f"fault {fault}") for fault in read_faults(state)),
        *_programs_to_stop(plan, state),
        *_wiring(plan, state),
        *_files(plan, state),
        *_pods(plan, state),
        *_pod_routes(spec, plan, state),
        *_programs_to_start(plan, state),
        *_objects(spec, plan, state, remote),
    ]


def _programs_to_stop(plan: Plan, state: StateDirectory) -> Iterator[Change]:
    processes = lab_processes(state.lab, homes(state.lab))
    kept = {*read_running(plan, state), *completed(exit_codes(state, plan.programs))}
    outliving = {
        int(path.read_text()) for path in plan.pid_files if path.exists() and path.read_text().strip()
    }
    for name in sorted(to_stop(state.lab, kept, processes, outliving)):
        yield Change("stop", name)


def _wiring(plan: Plan, state: StateDirectory) -> Iterator[Change]:
    delta = diff_wiring(plan.wiring, list(read_wiring(state.lab, plan.wiring)))
    yield from (Change("remove", str(fact)) for fact in delta.remove)
    yield from (Change("make", str(fact)) for fact in delta.make)
    wanted = {fact.namespace for fact in plan.wiring}
    yield from (Change("remove", f"namespace {name}") for name in sorted(lab_namespaces(state.lab) - wanted))


def _files(plan: Plan, state: StateDirectory) -> Iterator[Change]:
    delta = state.diff_files(CONFIG, plan.files)
    yield from (Change("write", f"{CONFIG}/{name}") for name in delta.upsert)
    yield from (Change("remove", f"{CONFIG}/{name}") for name in sorted(delta.delete))


def _pods(plan: Plan, state: StateDirectory) -> Iterator[Change]:
    there = {attachment.pod for attachment in plan.attachments} & attached(state, plan.attachments).keys()
    records = unwanted(state, (), there)
    yield from (Change("detach", f"pod {attachment.pod}") for attachment in records)
    yield from (
        Change("attach", f"pod {attachment.pod}")
        for attachment in plan.attachments
        if attachment.pod not in there
    )


def _pod_routes(spec: LabSpec, plan: Plan, state: StateDirectory) -> Iterator[Change]:
    """Yield those to pods that are there; a new pod's has no address yet."""
    wanted = build_pod_routes(spec.topology, attached(state, plan.attachments))
    delta = diff(wanted, read_pod_routes(state.lab))
    yield from (Change("make", describe(state.lab, *route)) for route in delta.upsert.items())


def _programs_to_start(plan: Plan, state: StateDirectory) -> Iterator[Change]:
    present = {*read_running(plan, state), *completed(exit_codes(state, plan.programs))}
    yield from (Change("start", program.name) for program in plan.programs if program.name not in present)


def _objects(
    spec: LabSpec, plan: Plan, state: StateDirectory, remote: RemoteServer | None
) -> Iterator[Change]:
    unknown: PodAddresses = {pod.key: _UNKNOWN for pod in spec.topology.pods}
    ends = pod_ends(spec.topology, exit_codes(state, plan.programs))
    desired = build_cluster(spec, {**unknown, **attached(state, plan.attachments)}, ends)
    if remote is None and plan.server.name not in read_running(plan, state):
        yield from (Change("apply", str(manifest.item.key)) for manifest in desired)
        return
    _, different = cluster_api(state, remote).compare(desired)
    for words in different:
        if words.endswith(" not on the API server"):
            yield Change("delete", words.removesuffix(" not on the API server"))
        else:
            yield Change("apply", words.partition(" on the API server")[0])
