"""What there is to look at: the topology of a lab that is up, with what faults have added to it."""

from netns_lab.faults.overlay import expected
from netns_lab.faults.record import read_faults
from netns_lab.state import StateDirectory
from netns_lab.topology import Topology


def load_present(state: StateDirectory) -> Topology | None:
    """Return a lab's topology as Kubernetes knows it; None if no `up` has come as far as keeping one."""
    topology = state.load_topology()
    return None if topology is None else expected(topology, read_faults(state))
