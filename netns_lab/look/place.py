"""Where a question is asked from, and how a shell says where it is."""

from netns_lab.execute import Place, find_place
from netns_lab.topology import PodSpec, Topology


def choose_place(topology: Topology, name: str | None) -> Place:
    """Return the place of that name; without one the first pod, else the first node.

    Raises:
        ConfigError: there is none of that name, or more than one.
    """
    if name is not None:
        return find_place(topology, name)
    return topology.pods[0] if topology.pods else topology.nodes[0]


def place_name(place: Place) -> str:
    """Return the name that finds a place, and no other."""
    return place.key if isinstance(place, PodSpec) else place.name


def prompt_command(lab: str, place: str) -> tuple[str, ...]:
    """Return the command of a shell whose prompt says where it is."""
    # bash reads its prompt from its start file, which would set its own over the environment's.
    script = 'PS1="$1:\\\\w\\\\$ " exec bash --norc -i'
    return ("sh", "-c", script, "shell", f"{lab}/{place}")
