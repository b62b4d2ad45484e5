"""From a topology to what runs on each node: configuration files, attachments of pods, programs.

Pure, but for the place of the programs. The wiring under it is `netns_lab.wiring`, the objects that the
programs read from the API server are `netns_lab.cluster`.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from netns_lab.address_plan import build_address_plan
from netns_lab.attachment import Attachment
from netns_lab.bird_config import build_bird_configs
from netns_lab.commands import bare_module, program_path
from netns_lab.names import (
    API_SERVER,
    HEARTBEAT,
    RELAY,
    container_id,
    fabric_namespace,
    node_namespace,
    node_program,
    pod_namespace,
    pod_program,
    router_program,
)
from netns_lab.programs import Program
from netns_lab.remote_server import API_PORT, RemoteServer
from netns_lab.state import StateDirectory
from netns_lab.topology import Network, NodeSpec, PodSpec, Topology
from netns_lab.wiring import Fact, build_wiring
from nodeplane.datapath import netns

CONFIG = "config"
"""The folder of the state directory that the plan's files go to."""

# The modes that may put VXLAN's headers before a pod's packet.
_TUNNELS = {"vxlan", "cross-subnet"}

# The first of RFC 6996's, and what Calico's nodes have.
_PRIVATE_ASN = 64512

# resolv.conf(5) is one file for a machine. In a mount namespace of its own a pod's program sees the pod's;
# caching daemons of the machine, which glibc asks before any server, are out of its sight.
_WITH_RESOLV_CONF = """
for socket in /run/nscd/socket /run/systemd/resolve/io.systemd.Resolve; do
  if [ -S "$socket" ]; then mount --bind /dev/null "$socket" || exit; fi
done
mount --bind "$1" /etc/resolv.conf && shift && exec "$@"
"""


class Plan(msgspec.Struct, frozen=True):
    """All that a lab consists of, but for the objects that depend on the pods' addresses.

    `pid_files` name processes that programs leave behind on purpose: an agent's BIRD. What is `absent` is
    not to run, though the lab has it: a fault has ended it.
    """

    wiring: tuple[Fact, ...]
    files: dict[str, bytes]
    attachments: tuple[Attachment, ...]
    server: Program
    router_programs: tuple[Program, ...]
    node_programs: tuple[Program, ...]
    workloads: tuple[Program, ...]
    pid_files: tuple[Path, ...] = ()
    absent: frozenset[str] = frozenset()

    @property
    def programs(self) -> tuple[Program, ...]:
        """All that is to run; the nodes' need the API server, a workload's first lookup needs the nodes'."""
        every = (self.server, *self.router_programs, *self.node_programs, *self.workloads)
        return tuple(program for program in every if program.name not in self.absent)


def build_plan(topology: Topology, state: StateDirectory, remote: RemoteServer | None = None) -> Plan:
    """Say what makes up a lab; paths are those of `state`. With `remote`, the API server is not its own."""
    addresses = build_address_plan(topology)
    files: dict[str, bytes] = {}
    node_programs: list[Program] = []
    workloads: list[Program] = []
    for node in topology.nodes:
        corefile = _corefile(topology, state, str(addresses.node_addresses(node.name)[0])).encode()
        agent_config = msgspec.json.encode(_agent_config(topology, state, node))
        files |= {f"nodes/{node.name}/Corefile": corefile, f"nodes/{node.name}/cni-agent.yaml": agent_config}
        own = addresses.node_addresses(node.name)
        for program in _node_programs(topology, state, node, corefile, agent_config):
            # A connection from an address that is gone, or to one, hangs: who may have one starts again. The
            # agent hears by itself of the node's own.
            hears = program.name == node_program(node.name, "cni-agent")
            ends = " ".join(map(str, (addresses.server, *(() if hears else own)))).encode()
            node_programs.append(msgspec.structs.replace(program, inputs=(*program.inputs, ends)))
    for pod in topology.pods:
        files[f"pods/{pod.key}/resolv.conf"] = _resolv_conf(topology, pod).encode()
        workloads += _pod_programs(topology, state, pod)
    attachments = tuple(_attachment(topology, state, pod) for pod in topology.pods)
    server = _own_server(topology, state) if remote is None else _relay(topology, remote)
    if remote is not None:
        workloads.append(_heartbeat(topology, state))
    routers = build_bird_configs(topology)
    files |= {f"routers/{name}/bird.conf": config for name, config in routers.items()}
    return Plan(
        wiring=build_wiring(topology),
        files=files,
        attachments=attachments,
        server=server,
        router_programs=tuple(_router_program(topology, state, *each) for each in routers.items()),
        node_programs=tuple(node_programs),
        workloads=tuple(workloads),
        pid_files=tuple(
            _bird_directory(state, node) / "bird.pid"
            for node in topology.nodes
            if topology.network.mode == "bgp"
        ),
    )


def resolv_conf(state: StateDirectory, pod: PodSpec) -> Path:
    """Return the path of a pod's resolv.conf."""
    return state.path / CONFIG / "pods" / pod.key / "resolv.conf"


def bird_socket(state: StateDirectory, router: str) -> Path:
    """Return the path of a router's control socket, for birdc(8)."""
    return state.path / "bird" / f"{router}.ctl"


def pod_ends(topology: Topology, codes: Mapping[str, int]) -> dict[str, int]:
    """Return the exit code of each pod's command that has ended, by `namespace/name`; `codes` by program."""
    programs = {pod.key: pod_program(pod) for pod in topology.pods}
    return {key: codes[name] for key, name in programs.items() if name in codes}


def pod_command(state: StateDirectory, pod: PodSpec, command: tuple[str, ...]) -> tuple[str, ...]:
    """Wrap a command so that it resolves names as the pod does; nothing outside of it changes.

    unshare(1) makes the new mount namespace private: no mount in it is seen elsewhere, and all end with it.
    """
    # The name behind the script is who the shell's own messages (a command that is not there) come from.
    shell = ("sh", "-c", _WITH_RESOLV_CONF, f"pod {pod.key}", str(resolv_conf(state, pod)))
    return ("unshare", "--mount", "--", *shell, *command)


def _own_server(topology: Topology, state: StateDirectory) -> Program:
    network = topology.network
    options = (
        *(
            "--data-dir",
            str(state.server_data),
            "--listen",
            f"{build_address_plan(topology).server}:{API_PORT}",
        ),
        *("--service-cidr", network.service_cidr, "--controllers", "--cluster-cidr", network.pod_pool),
    )
    return Program(
        API_SERVER, fabric_namespace(topology.name), (program_path("netns-lab"), "apiserver", *options)
    )


def _relay(topology: Topology, remote: RemoteServer) -> Program:
    fabric = fabric_namespace(topology.name)
    place = (str(netns.NETNS_DIR / fabric), str(build_address_plan(topology).server), str(API_PORT))
    command = bare_module("netns_lab.relay", *place, remote.host, str(remote.port))
    return Program(RELAY, fabric, command, moves_in=True)


def _heartbeat(topology: Topology, state: StateDirectory) -> Program:
    nodes = (node.name for node in topology.nodes)
    command = (sys.executable, "-I", "-m", "netns_lab.heartbeat", str(state.kubeconfig), *nodes)
    return Program(HEARTBEAT, fabric_namespace(topology.name), command)


def _router_program(topology: Topology, state: StateDirectory, name: str, config: bytes) -> Program:
    file = state.path / CONFIG / "routers" / name / "bird.conf"
    command = bare_module("netns_lab.bird", str(file), str(bird_socket(state, name)))
    return Program(router_program(name), node_namespace(topology.name, name), command, (config,))


def _node_programs(
    topology: Topology, state: StateDirectory, node: NodeSpec, corefile: bytes, agent_config: bytes
) -> list[Program]:
    namespace = node_namespace(topology.name, node.name)
    config = state.path / CONFIG / "nodes" / node.name
    pool = msgspec.json.encode(_pools(topology))
    cluster = ("--node-name", node.name, "--kubeconfig", str(state.kubeconfig))
    proxy_mode = topology.network.proxy_mode
    mode = () if proxy_mode == Network().proxy_mode else ("--proxy-mode", proxy_mode)
    # As kubeadm does: who is no pod gets its answers by way of the node that has translated for it.
    pods = ("--cluster-cidr", topology.network.pod_pool)

    def program(name: str, *arguments: str, inputs: tuple[bytes, ...] = ()) -> Program:
        return Program(
            node_program(node.name, name), namespace, (program_path(name), "run", *arguments), inputs
        )

    return [
        program("kubeproxy", *cluster, *pods, *mode),
        # With another pool the datastore is another file.
        program(
            "cni-agent", *cluster, "--config", str(config / "cni-agent.yaml"), inputs=(agent_config, pool)
        ),
        program("coredns-lite", "--conf", str(config / "Corefile"), inputs=(corefile,)),
    ]


def _pod_programs(topology: Topology, state: StateDirectory, pod: PodSpec) -> list[Program]:
    """Return the pod's one program, none for an idle pod."""
    name, namespace = pod_program(pod), pod_namespace(topology.name, pod)
    if pod.command:
        command = pod_command(state, pod, bare_module("netns_lab.job", *pod.command))
        return [Program(name, namespace, command, (_resolv_conf(topology, pod).encode(),))]
    if pod.ports:
        identity = {"pod": pod.name, "namespace": pod.namespace, "node": pod.node}
        ports = [(port.protocol, port.port) for port in pod.ports]
        settings = msgspec.json.encode({"identity": identity, "ports": ports}).decode()
        return [Program(name, namespace, bare_module("netns_lab.workload", settings))]
    return []


def _attachment(topology: Topology, state: StateDirectory, pod: PodSpec) -> Attachment:
    config = {
        "cniVersion": "1.1.0",
        "name": "nodeplane",
        "type": "nodeplane-cni",
        "nodeName": pod.node,
        **({"encapsulation": "vxlan"} if topology.network.mode in _TUNNELS else {}),
        "ipam": {"type": "nodeplane-ipam", "datastore": _datastore(state), "pools": _pools(topology)},
    }
    return Attachment(
        pod=pod.key,
        container=container_id(topology.name, pod),
        node_namespace=node_namespace(topology.name, pod.node),
        pod_namespace=pod_namespace(topology.name, pod),
        plugin=program_path("nodeplane-cni"),
        config=msgspec.json.encode(config).decode(),
    )


def _pools(topology: Topology) -> list[dict[str, str | int]]:
    """Return the pools, one of each family: a pod gets an address out of each."""
    network = topology.network
    mode = {} if network.mode == "direct" else {"mode": network.mode}
    families: dict[int, tuple[str, int]] = {
        4: ("default", network.block_size),
        6: ("default-ipv6", network.block_size6),
    }
    return [
        {
            "name": families[pool.version][0],
            "cidr": str(pool),
            "blockSize": families[pool.version][1],
            **mode,
        }
        for pool in network.pod_pools
    ]


def _agent_config(topology: Topology, state: StateDirectory, node: NodeSpec) -> dict[str, Any]:
    # Without a socket: the lab's plugins work in their own process, and the machine may have an agent.
    config: dict[str, Any] = {"datastore": _datastore(state), "socket": ""}
    if topology.network.mode == "bgp":
        config["bgp"] = {"asNumber": _PRIVATE_ASN, "directory": str(_bird_directory(state, node))}
    return _merge(_merge(config, topology.agent), node.agent)


def _bird_directory(state: StateDirectory, node: NodeSpec) -> Path:
    return state.path / "bird" / node.name


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Put fields over others; where both have fields inside, those are put over one another."""
    both = {
        name: _merge(base[name], value)
        for name, value in over.items()
        if isinstance(value, dict) and isinstance(base.get(name), dict)
    }
    return {**base, **over, **both}


def _corefile(topology: Topology, state: StateDirectory, address: str) -> str:
    domain = topology.network.cluster_domain
    return f"""{domain} {{
    bind {address}
    errors
    kubernetes {domain} {{
        kubeconfig {state.kubeconfig}
    }}
}}
"""


def _resolv_conf(topology: Topology, pod: PodSpec) -> str:
    """Return what kubelet writes for dnsPolicy ClusterFirst (k/k pkg/kubelet/network/dns)."""
    domain = topology.network.cluster_domain
    search = f"{pod.namespace}.svc.{domain} svc.{domain} {domain}"
    return f"search {search}\nnameserver {topology.network.cluster_dns}\noptions ndots:5\n"


def _datastore(state: StateDirectory) -> str:
    return f"sqlite://{state.datastore}"
