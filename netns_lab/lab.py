"""`up`: from what is asked for, through what is there, to what is missing.

Each step reads the world, compares and does the rest, so it does not matter what earlier commands did or
where they were killed. Steps are ordered so that nothing is used before it is there, and nothing is taken
away while it is used.
"""

import logging
import signal
from collections.abc import Iterable, Mapping

import msgspec

from netns_lab.attachment import attach, attached, detach, unwanted
from netns_lab.changes import Change, Changes
from netns_lab.cluster import PodAddresses, PodEnds, build_cluster
from netns_lab.faults.fault import Fault
from netns_lab.faults.overlay import crashed, expected, frozen, overlay, overlay_plan
from netns_lab.faults.record import drop_fault, read_faults
from netns_lab.impairments.rules import healthy, is_healthy
from netns_lab.lab_server import begin_datastore, choose_server, cluster_api, prepare_server
from netns_lab.launch import Launch, launching
from netns_lab.loader import LabSpec, Manifest
from netns_lab.names import API_SERVER, fabric_namespace
from netns_lab.neighbour_table import find_shortages
from netns_lab.plan import CONFIG, Plan, build_plan, pod_ends
from netns_lab.pod_routes import build_pod_routes, sync_pod_routes
from netns_lab.presence import processes_of, read_running
from netns_lab.probe import build_probes, split_probes
from netns_lab.probing import await_probes
from netns_lab.processes import (
    send,
    stop,
)
from netns_lab.programs import (
    Program,
    completed,
    exit_codes,
    forget,
    missing,
    running,
    to_stop,
)
from netns_lab.remote_server import RemoteServer
from netns_lab.state import StateDirectory
from netns_lab.topology import Network, Topology
from netns_lab.trouble import Trouble
from netns_lab.wiring import Fact, build_fabric, build_wiring
from netns_lab.wiring_kernel import converge, lab_namespaces, sweep
from nodeplane.kube.objects import Object

IN_SERVICE_LIMIT_S = 60.0

log = logging.getLogger(__name__)


class Lab(msgspec.Struct, frozen=True):
    """A lab that is in service, and what was done for it.

    `objects` is all that its API server holds; `missing` names programs that have ended since.
    """

    changes: tuple[Change, ...]
    addresses: PodAddresses
    objects: tuple[Object, ...]
    missing: tuple[str, ...]


class Asked(msgspec.Struct, frozen=True):
    """What is asked for, and the faults that it is to have."""

    spec: LabSpec
    faults: tuple[Fault, ...] = ()

    @property
    def topology(self) -> Topology:
        """The topology that there is to be."""
        return overlay(self.spec.topology, self.faults)

    def cluster(self, addresses: PodAddresses, ends: PodEnds | None = None) -> tuple[Manifest, ...]:
        """Return the objects that the API server is to hold: it knows of crashed nodes, too."""
        known = LabSpec(expected(self.spec.topology, self.faults), self.spec.manifests)
        return build_cluster(known, addresses, ends, crashed(self.faults))


def up(
    spec: LabSpec,
    state: StateDirectory,
    remote: RemoteServer | None = None,
    faults: tuple[Fault, ...] = (),
) -> Lab:
    """Bring a lab to what is asked for and wait until it is in service.

    Its API server is its own, or `remote`; a lab that has one already keeps it. The faults are those that it
    is to have: all others end. With any, nobody waits for what they may have taken away.

    Raises:
        ConfigError: the lab has another API server than the one that is asked for.
        KernelError: the kernel refused.
        NodeplaneError: a program did not start, a pod could not be attached, or the lab does not serve.
    """
    changes = Changes()
    asked = Asked(spec, faults)
    for shortage in find_shortages(spec.topology):
        log.warning("%s", shortage)
    if remote is not None:
        # Before anything is made: is it there, does it know us, is there room for the lab's objects?
        cluster_api(state, remote).check(asked.cluster({}))
    with state.locked():
        remote = choose_server(state, remote)
        plan = overlay_plan(build_plan(asked.topology, state, remote), asked.topology, faults)
        trouble = Trouble(state, spec.topology, faults, plan)
        trouble.check()
        over = [fault for fault in read_faults(state) if fault not in faults]
        state.save_manifests([manifest.raw for manifest in spec.manifests])
        state.save_topology(spec.topology)
        thaw(state, spec.topology, over)
        is_healed = trouble.must_be_healed(lambda: processes_of(state.lab))
        _stop_programs(plan, state, changes)
        if is_healed:
            trouble.heal(changes.add)
        wiring = build_wiring(healthy(asked.topology)) if is_healed else plan.wiring
        is_tried = not faults and (is_healed or is_healthy(asked.topology))
        addresses, objects = _bring(asked, state, remote, plan, changes, wiring=wiring, is_tried=is_tried)
        if is_healed:
            converge(state.lab, plan.wiring, changes.add)
        trouble.make(changes.add)
        for fault in over:
            drop_fault(state, fault)
            changes.add("ended", f"fault {fault}")
        ended = missing(plan.programs, read_running(plan, state), exit_codes(state, plan.programs))
    return Lab(tuple(changes.done), addresses, tuple(objects), tuple(ended))


def thaw(state: StateDirectory, topology: Topology, faults: Iterable[Fault]) -> None:
    """Let programs go on that these faults have stopped."""
    names = {f"{state.lab}/{name}" for name in frozen(topology, faults)}
    if names:
        send((process for process in processes_of(state.lab) if process.mark in names), signal.SIGCONT)


def _bring(
    asked: Asked,
    state: StateDirectory,
    remote: RemoteServer | None,
    plan: Plan,
    changes: Changes,
    *,
    wiring: tuple[Fact, ...],
    is_tried: bool,
) -> tuple[PodAddresses, list[Object]]:
    """Make and start what is missing; return the pods' addresses and all that the API server holds."""
    topology, objects = asked.topology, list[Object]()
    # A server that a fault has stopped hears of nothing.
    has_server = API_SERVER not in {*plan.absent, *frozen(topology, asked.faults)}
    # Where nothing is yet, only what the API server stands on: nobody takes longer to start.
    is_new = fabric_namespace(state.lab) not in lab_namespaces(state.lab)
    converge(state.lab, tuple(build_fabric(topology)) if is_new else wiring, changes.add)
    with launching(state) as launch:
        is_running = plan.server.name in read_running(plan, state)
        prepare_server(state, remote, topology, changes.add, is_running=is_running)
        _begin([plan.server], plan, state, launch, changes)
        launch.expect(_absent((*plan.node_programs, *plan.workloads), plan, state))
        # Meanwhile, what needs no server.
        if is_new:
            converge(state.lab, wiring, changes.add)
        _sync_files(state, CONFIG, plan.files, changes)
        addresses = _attach_pods(plan, topology.network, state, launch, changes)
        sync_pod_routes(state.lab, build_pod_routes(topology, addresses), changes.add)
        sweep(state.lab, plan.wiring, changes.add)
        launch.await_ready()
        _begin((*plan.router_programs, *plan.node_programs), plan, state, launch, changes)
        # What has ended is no endpoint, also while it is being started again.
        ends = pod_ends(topology, exit_codes(state, plan.programs))
        if has_server:
            objects = cluster_api(state, remote).sync(asked.cluster(addresses, ends), changes.add)
        launch.await_ready()
        lookups, connections = split_probes(build_probes(topology, addresses, objects))
        # Before the workloads: each one's first lookup is answered, and by what holds now.
        await_probes(topology, lookups if is_tried else (), IN_SERVICE_LIMIT_S)
        _begin(plan.workloads, plan, state, launch, changes)
        launch.await_ready()
        now = pod_ends(topology, exit_codes(state, plan.programs))
        if now != ends and has_server:
            objects = cluster_api(state, remote).sync(asked.cluster(addresses, now), changes.add)
            _, connections = split_probes(build_probes(topology, addresses, objects))
    await_probes(topology, connections if is_tried else (), IN_SERVICE_LIMIT_S)
    return addresses, objects


def _stop_programs(plan: Plan, state: StateDirectory, changes: Changes) -> None:
    while True:
        processes = processes_of(state.lab)
        kept = {*running(state, plan.programs, processes), *completed(exit_codes(state, plan.programs))}
        surplus = to_stop(state.lab, kept, processes, _outliving(plan))
        if not surplus:
            break
        stop(process for group in surplus.values() for process in group)
        for name in sorted(surplus):
            changes.add("stopped", name)
    forget(state, plan.programs)


def _outliving(plan: Plan) -> set[int]:
    """Return the processes that go on when the program ends that has started them."""
    texts = [path.read_text() for path in plan.pid_files if path.exists()]
    return {int(text) for text in texts if text.strip().isdigit()}


def _attach_pods(
    plan: Plan, network: Network, state: StateDirectory, launch: Launch, changes: Changes
) -> PodAddresses:
    kept = attached(state, plan.attachments)
    surplus = unwanted(state, plan.attachments, kept)
    detach(state, surplus)
    for attachment in surplus:
        changes.add("detached", f"pod {attachment.pod}")
    if not kept:
        begin_datastore(state, network, changes.add)
    wanted = [attachment for attachment in plan.attachments if attachment.pod not in kept]
    fresh = attach(state, wanted, launch.call)
    for pod in fresh:
        changes.add("attached", f"pod {pod}")
    return {**kept, **fresh}


def _begin(
    programs: Iterable[Program], plan: Plan, state: StateDirectory, launch: Launch, changes: Changes
) -> None:
    """Start those that neither run nor have done their work, and are to run."""
    begun = _absent(programs, plan, state)
    launch.begin(begun)
    for program in begun:
        changes.add("started", program.name)


def _absent(programs: Iterable[Program], plan: Plan, state: StateDirectory) -> list[Program]:
    """Return those that neither run nor have done their work, and are to run."""
    present = {*read_running(plan, state), *completed(exit_codes(state, plan.programs)), *plan.absent}
    return [program for program in programs if program.name not in present]


def _sync_files(state: StateDirectory, folder: str, files: Mapping[str, bytes], changes: Changes) -> None:
    delta = state.sync_files(folder, files)
    for name in delta.upsert:
        changes.add("wrote", f"{folder}/{name}")
    for name in sorted(delta.delete):
        changes.add("removed", f"{folder}/{name}")
