"""The program in mode ipvs: what it writes is what it shows, and what it takes away."""

import json
from pathlib import Path

import pytest

from kubeproxy.ipvs.layout import LINK
from kubeproxy.rules.layout import TABLE
from tests.kubeproxy.ipvs.forked import run
from tests.netns_fixture import namespace, run_in, veth_pair

WEB = """\
apiVersion: v1
kind: Service
metadata: {name: web, annotations: {nodeplane.io/weights: 10.244.0.1=3}}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  clusterIP: 10.96.0.1
  ports: [{name: http, port: 80, nodePort: 30080}]
status: {loadBalancer: {ingress: [{ip: 198.51.100.7}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.244.0.1], nodeName: n1}, {addresses: [10.244.0.2], nodeName: n2}]
"""


@pytest.mark.ipvs
def test_once_show_trace_cleanup(tmp_path: Path) -> None:
    """`auto` is ipvs here; show and trace read IPVS and the table; cleanup leaves nothing."""
    (tmp_path / "web.yaml").write_text(WEB)
    inputs = ("--node-name", "n1", "--manifests", str(tmp_path))
    with namespace("node") as ns, namespace("far") as far, veth_pair(ns, "v0", far, "v0"):
        run_in(ns, "ip", "address", "add", "203.0.113.1/24", "dev", "v0")
        once = run(ns, "once", *inputs, "--proxy-mode", "auto")
        saved = run_in(ns, "ipvsadm", "-Sn").stdout.splitlines()
        show = run(ns, "show", "-o", "json")
        trace = run(ns, "trace", "203.0.113.9", "tcp", "198.51.100.7:80", "-o", "json")
        cleanup = run(ns, "cleanup")
        left = run_in(ns, "ipvsadm", "-Sn").stdout + run_in(ns, "nft", "list", "ruleset").stdout

    assert [each.returncode for each in (once, show, trace, cleanup)] == [0] * 4, once.stderr + show.stderr
    assert {line for line in saved if line.startswith("-A -t")} == {
        f"-A -t {address} -s wrr" for address in ("10.96.0.1:80", "198.51.100.7:80", "203.0.113.1:30080")
    }
    rows = {(row["frontend"], row["client"]): row for row in json.loads(show.stdout)}
    both = (["10.244.0.1:8080", "10.244.0.2:8080"], ["3", "1"])
    own = (["10.244.0.1:8080"], ["3"])
    assert {key: (row["endpoints"], row["weights"]) for key, row in rows.items()} == {
        ("TCP 10.96.0.1:80", "anywhere"): both,
        ("TCP 198.51.100.7:80", "this node"): both,
        ("TCP 198.51.100.7:80", "elsewhere"): own,
        ("TCP node port 30080", "this node"): both,
        ("TCP node port 30080", "elsewhere"): own,
    }
    outcomes = json.loads(trace.stdout)["outcomes"]
    assert [(each["endpoint"], each["source"]) for each in outcomes] == [("10.244.0.1:8080", "203.0.113.9")]
    assert cleanup.stdout.splitlines() == [
        *(f"removed table {family} {TABLE}" for family in ("ip", "ip6")),
        "removed 4 virtual services ip",
        f"removed link {LINK}",
    ]
    assert left == ""
