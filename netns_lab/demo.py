"""`netns-lab demo`: a client reaches a service in another namespace by its name, and the packets show how.

Runs the demonstration. What was seen is put together in `netns_lab.evidence`; what counts as success is
decided in `netns_lab.judge`.
"""

import subprocess
import time

import msgspec

from netns_lab.attachment import host_link
from netns_lab.capture import Packet, await_packets, capture, read_packets
from netns_lab.commands import bare_module
from netns_lab.evidence import ClientResult, Stage, build_evidence, build_stage
from netns_lab.judge import Evidence, judge, tolerance
from netns_lab.lab import up
from netns_lab.loader import DEMO_FILE, LabSpec, read_lab
from netns_lab.names import UPLINK, node_namespace, pod_namespace
from netns_lab.plan import build_plan, pod_command
from netns_lab.presence import read_running
from netns_lab.programs import environment
from netns_lab.report import node_rows, pod_rows, service_rows
from netns_lab.state import StateDirectory
from netns_lab.wiring_kernel import lab_namespaces
from nodeplane.datapath import netns
from nodeplane.errors import ConfigError, NodeplaneError
from nodeplane.runtime.output import Row

CONNECTIONS = 100

_CLIENT = "clients/client"
_SERVICE = ("default", "web")
_CLIENT_LIMIT_S = 100.0
_CAPTURE_LIMIT_S = 30.0


def demo_spec(lab: str) -> LabSpec:
    """Return the demo's topology under a lab's name."""
    spec = read_lab(DEMO_FILE)
    return msgspec.structs.replace(spec, topology=msgspec.structs.replace(spec.topology, name=lab))


def check_free(state: StateDirectory) -> None:
    """Refuse to take a lab over that is not the demo's; call with the lab's lock held.

    Raises:
        ConfigError: there is a lab of that name that was made of something else.
    """
    topology = state.load_topology()
    if topology == demo_spec(state.lab).topology or (topology is None and not lab_namespaces(state.lab)):
        return
    raise ConfigError(
        state.lab, "", "expected no lab of this name, there is one and not the demo's: take another --lab"
    )


def demonstrate(state: StateDirectory) -> tuple[dict[str, object], bool]:
    """Bring the demo's lab up, connect, watch; return the report and whether every claim held.

    Raises:
        NodeplaneError: the lab did not come up, or the client or a capture did not run.
    """
    started = time.monotonic()
    spec = demo_spec(state.lab)
    lab = up(spec, state)
    up_s = time.monotonic() - started
    objects = lab.objects
    stage = build_stage(spec.topology, lab.addresses, objects, _CLIENT, _SERVICE)
    client_link = host_link(state, _CLIENT)
    evidence = _observe(stage, client_link, state)
    checks = judge(evidence)
    passed = all(check.held for check in checks)
    running = read_running(build_plan(spec.topology, state), state)
    dns = spec.topology.network.cluster_dns
    report: dict[str, object] = {
        "lab": state.lab,
        "up_seconds": round(up_s, 2),
        "nodes": node_rows(spec.topology, running),
        "pods": pod_rows(spec.topology, lab.addresses, running),
        "services": service_rows(objects),
        "answer": [{"name": evidence.name, "addresses": list(evidence.answers), "server": dns}],
        "shares": _share_rows(evidence),
        "packets": _packet_rows(stage, client_link, evidence),
        "checks": [{"claim": check.claim, "held": check.held, "seen": check.seen} for check in checks],
        "passed": passed,
    }
    return report, passed


def _observe(stage: Stage, client_link: str, state: StateDirectory) -> Evidence:
    # Below the lab's directory, so that it goes with the lab whatever happens.
    folder = state.path / "captures"
    folder.mkdir(exist_ok=True)
    client_node = node_namespace(state.lab, stage.client.node)
    watched_node = node_namespace(state.lab, stage.watched_node)
    # The first packet of every connection of the client's, wherever it goes.
    opening = f"src host {stage.client_address} and tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn"
    with (
        capture(state.lab, client_node, client_link, opening, folder / "client.pcap") as client_side,
        capture(state.lab, watched_node, UPLINK, opening, folder / "node.pcap") as node_side,
    ):
        result = _run_client(stage, state)
        await_packets(client_side, len(result.connections), _CAPTURE_LIMIT_S)
        await_packets(node_side, len(result.answered_by(stage.watched_pods)), _CAPTURE_LIMIT_S)
    return build_evidence(stage, result, read_packets(client_side), read_packets(node_side))


def _run_client(stage: Stage, state: StateDirectory) -> ClientResult:
    client = bare_module("netns_lab.client", stage.name, str(stage.port), str(CONNECTIONS))
    with netns.inside(netns.NETNS_DIR / pod_namespace(state.lab, stage.client)):
        try:
            done = subprocess.run(
                pod_command(state, stage.client, client),
                env=environment(state.lab, "demo/client"),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_CLIENT_LIMIT_S,
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise NodeplaneError(f"the client has not ended after {_CLIENT_LIMIT_S:.0f} s") from exc
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").rstrip().rpartition("\n")[2]
        raise NodeplaneError(f"the client ended with exit code {done.returncode}: {reason}")
    return msgspec.json.decode(done.stdout, type=ClientResult)


def _share_rows(evidence: Evidence) -> list[Row]:
    backends = len(evidence.shares)
    return [
        {
            "backend": share.pod,
            "node": share.node,
            "address": f"{share.address}:{share.port}",
            "connections": share.connections,
            "even": round(evidence.connections / backends, 1),
            "margin": round(tolerance(evidence.connections, backends), 1),
        }
        for share in evidence.shares
    ]


def _packet_rows(stage: Stage, client_link: str, evidence: Evidence) -> list[Row]:
    """Return one connection's first packet as it was on the client's link and on the node's uplink."""
    places = (
        ("before", stage.client.node, client_link, evidence.before),
        ("after", stage.watched_node, UPLINK, evidence.after),
    )
    return [
        {"translation": when, "node": node, "link": link, **_packet_row(packet)}
        for when, node, link, packet in places
        if packet is not None
    ]


def _packet_row(packet: Packet) -> Row:
    return {
        "source": f"{packet.source}:{packet.source_port}",
        "destination": f"{packet.destination}:{packet.destination_port}",
        "protocol": "TCP",
        "flags": packet.flags,
        "sequence": packet.sequence,
    }
