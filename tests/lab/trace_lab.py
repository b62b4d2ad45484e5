"""The lab that packets are traced in, with a Service for each way that a trace may end."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from netns_lab.execute import find_place
from netns_lab.trace.report import describe
from netns_lab.trace.run import trace
from netns_lab.trace.target import parse_target
from nodeplane.datapath.rtnl import Family
from tests.lab.labs import LabUnderTest, lab_from

_WEB = {"app": "web"}


def _service(name: str, selector: dict[str, str], *ports: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": selector, "ports": list(ports), **spec},
    }


_HTTP = {"name": "http", "port": 80, "targetPort": "http"}
_ECHO = [{"name": "http", "port": 8080}, {"name": "echo", "port": 7, "protocol": "UDP"}]

TOPOLOGY: dict[str, Any] = {
    "name": "trace",
    "network": {
        "segment": "172.30.0.0/24,fd00:172:30::/64",
        "podPool": "10.244.0.0/16,fd00:10:244::/56",
        "serviceCIDR": "10.96.0.0/16,fd00:10:96::/112",
    },
    "nodes": [{"name": "n1"}, {"name": "n2"}],
    "clients": [{"name": "outside", "routes": [{"to": "203.0.113.0/24", "via": "172.30.0.2"}]}],
    "pods": [
        {"name": "client", "node": "n1"},
        {"name": "web-1", "node": "n2", "labels": _WEB, "ports": _ECHO},
        {"name": "self", "node": "n1", "labels": {"app": "self"}, "ports": _ECHO},
    ],
    "manifests": [
        _service(
            "web",
            _WEB,
            {**_HTTP, "nodePort": 30080},
            {"name": "echo", "port": 7, "protocol": "UDP"},
            type="NodePort",
            ipFamilyPolicy="PreferDualStack",
        ),
        _service("self", {"app": "self"}, _HTTP),
        _service("nobody", {"app": "nobody"}, _HTTP),
        _service("local", _WEB, {**_HTTP, "nodePort": 30081}, type="NodePort", externalTrafficPolicy="Local"),
        _service("ranged", _WEB, _HTTP, type="LoadBalancer", loadBalancerSourceRanges=["192.0.2.0/24"]),
    ],
}


class Traced(NamedTuple):
    """What a trace said."""

    verdict: str
    reason: str
    report: dict[str, Any]

    def steps(self, where: str) -> list[str]:
        """Return what happened in a place, in order."""
        return [step["step"] for step in self.report["steps"] if step["where"] == where]


class TraceLab:
    """The lab, with the addresses that tests need."""

    def __init__(self, lab: LabUnderTest) -> None:
        self.lab = lab
        status = lab.status()
        self.nodes = {row["node"]: row["address"].split(",")[0] for row in status["nodes"]}
        self.pods = {row["pod"]: row["address"].split(",") for row in status["pods"]}
        self.block = ".".join(self.pods["default/web-1"][0].split(".")[:3])

    def trace(self, place: str, target: str, family: Family | None = None, limit_s: float = 1) -> Traced:
        """Trace as the command does, without its start."""
        topology = self.lab.state.load_topology()
        assert topology is not None
        spec, parsed = find_place(topology, place), parse_target(target)
        case = trace(self.lab.state, topology, spec, parsed, limit_s=limit_s, family=family)
        report, verdict = describe(case, "json")
        return Traced(verdict.state, verdict.sentence, json.loads(json.dumps(report)))


@contextmanager
def trace_lab(folder: Path) -> Iterator[TraceLab]:
    """Yield the lab; each test leaves it as it was."""
    file = folder / "trace.yaml"
    file.write_text(yaml.safe_dump(TOPOLOGY))
    with lab_from(file, folder) as lab:
        lab.up()
        ingress = '{"status":{"loadBalancer":{"ingress":[{"ip":"203.0.113.9"}]}}}'
        lab.kubectl("patch", "service", "ranged", "--subresource=status", "--type=merge", "-p", ingress)
        yield TraceLab(lab)
