"""What there is of a lab on this machine, whatever state it is in: namespaces, processes, files."""

from collections.abc import Mapping

from netns_lab.names import lab_of
from netns_lab.plan import Plan
from netns_lab.processes import (
    NamespaceId,
    Process,
    lab_processes,
    machine_namespaces,
    marked_labs,
    namespace_id,
)
from netns_lab.programs import running
from netns_lab.state import StateDirectory, saved_labs
from netns_lab.wiring_kernel import lab_namespaces
from nodeplane.datapath import netns


def labs() -> set[str]:
    """Return the names of all labs of which there is anything on this machine."""
    owners = {lab_of(name) for name in lab_namespaces()}
    return saved_labs() | {owner for owner in owners if owner is not None} | marked_labs()


def homes(lab: str) -> set[NamespaceId]:
    """Return the lab's namespaces, whose processes are the lab's.

    A name that holds no namespace (a killed `create` leaves one) is nobody's home. Nor is one that somebody
    has given to the machine's own namespace (`ip netns attach`): every process would be the lab's.
    """
    paths = (netns.NETNS_DIR / name for name in lab_namespaces(lab))
    found = {home for path in paths if netns.is_namespace(path) and (home := namespace_id(path))}
    return found - machine_namespaces()


def processes_of(lab: str) -> list[Process]:
    """Return the lab's processes: those under its mark, and those that live in its namespaces."""
    return lab_processes(lab, homes(lab))


def read_running(plan: Plan, state: StateDirectory) -> Mapping[str, Process]:
    """Return the programs that run as planned."""
    return running(state, plan.programs, processes_of(state.lab))
