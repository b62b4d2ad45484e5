"""What runs in a lab of a given topology."""

import sys
from pathlib import Path

import msgspec
import pytest

from netns_lab.commands import bare_module
from netns_lab.plan import build_plan, pod_command, resolv_conf
from netns_lab.programs import Program
from netns_lab.remote_server import RemoteServer
from netns_lab.state import StateDirectory
from netns_lab.topology import (
    InterfaceSpec,
    Network,
    NodeSpec,
    PeerSpec,
    PodSpec,
    PortSpec,
    ProxyMode,
    RouterSpec,
    Topology,
)

STATE = StateDirectory("lab", Path("/run/labs"))
BIN = Path(sys.executable).parent
NETWORK = Network(cluster_domain="corp.test", pod_pool="10.1.0.0/16", block_size=27)
PODS = (
    PodSpec("idle", "n1", "x"),
    PodSpec("web", "n1", ports=(PortSpec(80), PortSpec(53, protocol="UDP"))),
    PodSpec("job", "n1", command=("sleep", "9")),
)
TOPOLOGY = Topology("lab", (NodeSpec("n1"),), PODS, NETWORK)
PLAN = build_plan(TOPOLOGY, STATE)
PROGRAMS = {program.name: program for program in PLAN.programs}

COREFILE = b"""\
corp.test {
    bind 172.30.0.2
    errors
    kubernetes corp.test {
        kubeconfig /run/labs/lab/apiserver/kubeconfig
    }
}
"""


def test_files() -> None:
    def resolver(namespace: str) -> bytes:
        search = f"search {namespace}.svc.corp.test svc.corp.test corp.test\n"
        return f"{search}nameserver 10.96.0.10\noptions ndots:5\n".encode()

    assert PLAN.files == {
        "nodes/n1/Corefile": COREFILE,
        "nodes/n1/cni-agent.yaml": b'{"datastore":"sqlite:///run/labs/lab/ipam.sqlite","socket":""}',
        "pods/x/idle/resolv.conf": resolver("x"),
        "pods/default/web/resolv.conf": resolver("default"),
        "pods/default/job/resolv.conf": resolver("default"),
    }


def test_cni_configuration() -> None:
    """The keys are those of CNI 1.1.0 and of nodeplane-cni; one datastore serves all nodes."""
    attachment = PLAN.attachments[0]

    assert (attachment.pod, attachment.container) == ("x/idle", "lab.x.idle")
    assert (attachment.node_namespace, attachment.pod_namespace) == ("nl-lab-n1", "nl-lab-pod-x-idle")
    assert attachment.plugin == str(BIN / "nodeplane-cni")
    assert msgspec.json.decode(attachment.config) == {
        "cniVersion": "1.1.0",
        "name": "nodeplane",
        "type": "nodeplane-cni",
        "nodeName": "n1",
        "ipam": {
            "type": "nodeplane-ipam",
            "datastore": "sqlite:///run/labs/lab/ipam.sqlite",
            "pools": [{"name": "default", "cidr": "10.1.0.0/16", "blockSize": 27}],
        },
    }


@pytest.mark.parametrize(
    ("name", "command", "inputs"),
    [
        pytest.param(
            "kubeproxy",
            (
                *("run", "--node-name", "n1", "--kubeconfig", "/run/labs/lab/apiserver/kubeconfig"),
                *("--cluster-cidr", "10.1.0.0/16"),
            ),
            (),
            id="kubeproxy",
        ),
        pytest.param(
            "cni-agent",
            (
                *("run", "--node-name", "n1", "--kubeconfig", "/run/labs/lab/apiserver/kubeconfig"),
                *("--config", "/run/labs/lab/config/nodes/n1/cni-agent.yaml"),
            ),
            (
                PLAN.files["nodes/n1/cni-agent.yaml"],
                b'[{"name":"default","cidr":"10.1.0.0/16","blockSize":27}]',
            ),
            id="cni-agent",
        ),
        pytest.param(
            "coredns-lite",
            ("run", "--conf", "/run/labs/lab/config/nodes/n1/Corefile"),
            (COREFILE,),
            id="coredns-lite",
        ),
    ],
)
def test_node_program(name: str, command: tuple[str, ...], inputs: tuple[bytes, ...]) -> None:
    """Each starts again, too, with another address of the API server, or of its node (not the agent)."""
    ends = b"172.30.0.1" if name == "cni-agent" else b"172.30.0.1 172.30.0.2"
    expected = Program(f"nodes/n1/{name}", "nl-lab-n1", (str(BIN / name), *command), (*inputs, ends))

    assert PROGRAMS[f"nodes/n1/{name}"] == expected


def test_own_api_server() -> None:
    """It serves on the gateway, and gives out the topology's own addresses."""
    assert PLAN.server == Program(
        "fabric/apiserver",
        "nl-lab-fabric",
        (
            *(str(BIN / "netns-lab"), "apiserver", "--data-dir", "/run/labs/lab/apiserver"),
            *("--listen", "172.30.0.1:6443", "--service-cidr", "10.96.0.0/16"),
            *("--controllers", "--cluster-cidr", "10.1.0.0/16"),
        ),
    )


def test_another_api_server() -> None:
    """A relay stands at the same place, and the nodes have heartbeats; nothing else is different."""
    plan = build_plan(TOPOLOGY, STATE, RemoteServer("/home/u/config", "api.test", 443))

    arguments = ("/run/netns/nl-lab-fabric", "172.30.0.1", "6443", "api.test", "443")
    command = bare_module("netns_lab.relay", *arguments)
    assert plan.server == Program("fabric/relay", "nl-lab-fabric", command, moves_in=True)
    heartbeat = plan.workloads[-1]
    assert (heartbeat.name, heartbeat.namespace) == ("fabric/heartbeat", "nl-lab-fabric")
    assert heartbeat.command[-3:] == ("netns_lab.heartbeat", "/run/labs/lab/apiserver/kubeconfig", "n1")
    own = msgspec.structs.replace(plan, server=PLAN.server, workloads=plan.workloads[:-1])
    assert own == PLAN


def test_workloads() -> None:
    """An idle pod runs nothing, ports get the echo server, a command gets its pod's resolv.conf."""
    assert {name for name in PROGRAMS if name.startswith("pods/")} == {"pods/default/web", "pods/default/job"}
    echo, job = PROGRAMS["pods/default/web"], PROGRAMS["pods/default/job"]
    assert echo.namespace == "nl-lab-pod-default-web"
    assert msgspec.json.decode(echo.command[-1]) == {
        "identity": {"pod": "web", "namespace": "default", "node": "n1"},
        "ports": [["TCP", 80], ["UDP", 53]],
    }
    assert job.namespace == "nl-lab-pod-default-job"
    assert job.command == pod_command(STATE, PODS[2], bare_module("netns_lab.job", "sleep", "9"))
    assert pod_command(STATE, PODS[2], ("true",))[-3:] == (
        "pod default/job",
        str(resolv_conf(STATE, PODS[2])),
        "true",
    )


def test_both_families_and_modes() -> None:
    """One pool of each family in the lab's mode, with room for VXLAN's headers where there may be some."""
    network = Network(
        "10.0.0.0/24,fd00::/64", "10.1.0.0/16,fd01::/56", service_cidr="10.96.0.0/16,fd02::/112", mode="vxlan"
    )
    plan = build_plan(msgspec.structs.replace(TOPOLOGY, network=network), STATE)

    config = msgspec.json.decode(plan.attachments[0].config)
    assert config["encapsulation"] == "vxlan"
    assert config["ipam"]["pools"] == [
        {"name": "default", "cidr": "10.1.0.0/16", "blockSize": 26, "mode": "vxlan"},
        {"name": "default-ipv6", "cidr": "fd01::/56", "blockSize": 122, "mode": "vxlan"},
    ]
    assert "10.96.0.0/16,fd02::/112" in plan.server.command
    assert "10.1.0.0/16,fd01::/56" in plan.node_programs[0].command


@pytest.mark.parametrize(
    ("mode", "options"),
    [("nftables", ()), ("ipvs", ("--proxy-mode", "ipvs")), ("auto", ("--proxy-mode", "auto"))],
)
def test_proxy_mode(mode: ProxyMode, options: tuple[str, ...]) -> None:
    plan = build_plan(Topology("lab", (NodeSpec("n1"),), network=Network(proxy_mode=mode)), STATE)
    command = next(program.command for program in plan.programs if program.name == "nodes/n1/kubeproxy")

    assert command[8:] == options


def test_what_a_fault_has_ended_is_not_to_run() -> None:
    plan = msgspec.structs.replace(PLAN, absent=frozenset({"nodes/n1/kubeproxy"}))

    assert {program.name for program in PLAN.programs} - {program.name for program in plan.programs} == {
        "nodes/n1/kubeproxy"
    }


def test_agents_configuration() -> None:
    """The lab's own fields, those of the file for all agents, and those for one, each over the other."""
    topology = msgspec.structs.replace(
        TOPOLOGY,
        nodes=(NodeSpec("n1", agent={"bgp": {"asNumber": 65001}}), NodeSpec("n2")),
        network=Network(mode="bgp"),
        agent={"bgp": {"mesh": False}, "gcInterval": "0"},
    )
    plan = build_plan(topology, STATE)

    def config(node: str) -> object:
        return msgspec.json.decode(plan.files[f"nodes/{node}/cni-agent.yaml"])

    own = {"datastore": "sqlite:///run/labs/lab/ipam.sqlite", "socket": "", "gcInterval": "0"}
    bgp = {"mesh": False, "directory": "/run/labs/lab/bird/n1"}
    assert config("n1") == {**own, "bgp": {**bgp, "asNumber": 65001}}
    assert config("n2") == {**own, "bgp": {**bgp, "directory": "/run/labs/lab/bird/n2", "asNumber": 64512}}
    assert plan.pid_files == (
        Path("/run/labs/lab/bird/n1/bird.pid"),
        Path("/run/labs/lab/bird/n2/bird.pid"),
    )


def test_routers() -> None:
    """One with an AS number runs BIRD, which has to start again with another configuration."""
    routers = (
        RouterSpec("leaf", (InterfaceSpec("segment"),), asn=65001, peers=(PeerSpec(segment="segment"),)),
        RouterSpec("r", (InterfaceSpec("segment"),)),
    )
    plan = build_plan(msgspec.structs.replace(TOPOLOGY, routers=routers), STATE)

    config = plan.files["routers/leaf/bird.conf"]
    arguments = ("/run/labs/lab/config/routers/leaf/bird.conf", "/run/labs/lab/bird/leaf.ctl")
    command = bare_module("netns_lab.bird", *arguments)
    assert plan.router_programs == (Program("routers/leaf/bird", "nl-lab-leaf", command, (config,)),)
    assert set(plan.router_programs) <= set(plan.programs)
