"""`netns-lab exec` and `kubectl`: a command in the place of a node, of a pod, or of the API server."""

import os
import shutil
import signal
from collections.abc import Sequence
from typing import TypeAlias

from netns_lab.commands import program_folder
from netns_lab.names import fabric_namespace, node_namespace, pod_namespace
from netns_lab.plan import pod_command
from netns_lab.state import StateDirectory
from netns_lab.topology import ClientSpec, NodeSpec, PodSpec, RouterSpec, Topology
from nodeplane.datapath import netns
from nodeplane.errors import ConfigError, NodeplaneError, SetupError

Place: TypeAlias = NodeSpec | RouterSpec | ClientSpec | PodSpec


def find_place(topology: Topology, name: str) -> Place:
    """Return the node, router, external client or pod of that name; a pod may be written `namespace/name`.

    Raises:
        ConfigError: there is none, or more than one.
    """
    hosts: list[NodeSpec | RouterSpec | ClientSpec] = [
        *topology.nodes,
        *topology.routers,
        *topology.clients,
    ]
    pods = [pod for pod in topology.pods if name in {pod.name, pod.key}]
    found: list[Place] = [*(host for host in hosts if host.name == name), *pods]
    if len(found) != 1:
        names = [host.name for host in hosts]
        choices = ", ".join([*names, *(pod.key for pod in topology.pods)])
        others = (("router", topology.routers), ("client", topology.clients))
        kinds = ", ".join(["node", *(word for word, there in others if there)]) + " or pod"
        raise ConfigError(name, "", f"expected the name of one {kinds}: {choices}")
    return found[0]


def place_namespace(lab: str, place: Place) -> str:
    """Return the name of a place's namespace."""
    return pod_namespace(lab, place) if isinstance(place, PodSpec) else node_namespace(lab, place.name)


def place_command(state: StateDirectory, place: Place, command: Sequence[str]) -> tuple[str, ...]:
    """Return what runs a command as it would run in a place: in a pod, with the pod's resolv.conf."""
    return pod_command(state, place, tuple(command)) if isinstance(place, PodSpec) else tuple(command)


def become(state: StateDirectory, place: Place, command: Sequence[str]) -> None:
    """Replace this process by the command, in the place's namespace.

    Raises:
        NodeplaneError: the command can't be started.
        KernelNotFoundError: the namespace is not there: the lab is not up.
    """
    _become(place_namespace(state.lab, place), place_command(state, place, command))


def become_kubectl(state: StateDirectory, arguments: Sequence[str]) -> None:
    """Replace this process by kubectl, for the lab's API server and in its place.

    Raises:
        SetupError: there is no kubectl.
        KernelNotFoundError: the lab is not up.
    """
    if shutil.which("kubectl") is None:
        raise SetupError("kubectl: expected in PATH, it is in Debian's package kubernetes-client")
    os.environ["KUBECONFIG"] = str(state.kubeconfig)
    # The gateway is next door; no proxy of the caller's is reached from there.
    os.environ["NO_PROXY"] = "*"
    # One for each lab: kubectl files what a server offers under its address, and labs have the same ones.
    cache = str(state.path / "kubectl-cache")
    _become(fabric_namespace(state.lab), ("kubectl", f"--cache-dir={cache}", *arguments))


def _become(namespace: str, arguments: tuple[str, ...]) -> None:
    # Python ignores SIGPIPE, and what it becomes would too: `exec … -- yes | head` must end.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    # nodeplane's own programs, so that `exec n1 -- kubeproxy show` works without an activated virtualenv.
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), str(program_folder())])
    with netns.inside(netns.NETNS_DIR / namespace):
        try:
            os.execvp(arguments[0], arguments)  # noqa: S606 - to become the command is the purpose
        except OSError as exc:
            raise NodeplaneError(f"can't start {arguments[0]}: {exc.strerror}") from exc
