"""`down`: a lab removed whole, without its topology file."""

import logging

from netns_lab.changes import Change, Changes
from netns_lab.lab_server import cluster_api, load_remote
from netns_lab.presence import processes_of
from netns_lab.processes import stop
from netns_lab.state import StateDirectory
from netns_lab.wiring_kernel import lab_namespaces, sweep
from nodeplane.errors import NodeplaneError

log = logging.getLogger(__name__)


def down(state: StateDirectory) -> list[Change]:
    """Remove all that there is of a lab, whatever state it is in, and return what that was."""
    changes = Changes()
    if not state.exists() and not lab_namespaces(state.lab) and not processes_of(state.lab):
        return changes.done
    with state.locked():
        _delete_objects(state, changes)
        # What a process forks while it is being ended is found by the next look.
        while processes := processes_of(state.lab):
            stop(processes)
            for process in processes:
                changes.add("ended", f"process {process.pid} {process.mark}".rstrip())
        sweep(state.lab, (), changes.add)
        state.remove()
    return changes.done


def _delete_objects(state: StateDirectory, changes: Changes) -> None:
    """Delete what the lab has made on a server that stays; its own goes with all that it holds."""
    remote = load_remote(state)
    if remote is None:
        return
    try:
        cluster_api(state, remote).sync((), changes.add)
    except NodeplaneError as exc:
        # The server may be gone for good, and the lab has to be able to go too.
        log.warning(
            "the lab's objects stay on the API server kubeconfig=%s error=%r", remote.kubeconfig, str(exc)
        )
