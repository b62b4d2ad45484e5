"""A transcript: kubectl works on the server as on a real one, Debian's 1.20 and the one that is installed."""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.kubectls import path_with, which_kubectls
from tests.netns_lab.apiserver.process import apiserver

Kubectl = Callable[..., str]

MANIFEST = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.80
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: web, nodePort: 30080}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec:
  nodeName: n1
  containers:
  - {name: c, image: "example.org/web:1", ports: [{containerPort: 8080, name: web}]}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/zone: z1}}
"""
LIMIT_S = 60.0


@pytest.fixture(scope="module", params=which_kubectls())
def environment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    directory = tmp_path_factory.mktemp("apiserver")
    path = path_with(request.param)
    with apiserver(directory, "--controllers"):
        yield {
            **os.environ,
            "PATH": path,
            "KUBECONFIG": str(directory / "kubeconfig"),
            "HOME": str(directory),
        }


@pytest.fixture(scope="module")
def kubectl(environment: dict[str, str]) -> Kubectl:
    def run(*words: str, stdin: str = "", fails: bool = False, editor: str = "false") -> str:
        done = subprocess.run(
            ["kubectl", *words],
            input=stdin,
            env={**environment, "EDITOR": editor},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert (done.returncode != 0) is fails, done.stderr
        return done.stderr if fails else done.stdout

    run("apply", "-f", "-", stdin=MANIFEST)
    return run


def config_map(name: str, namespace: str = "shop", **data: str) -> str:
    metadata = {"name": name, "namespace": namespace}
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def squeeze(table: str) -> list[str]:
    """Return a table's lines with single spaces, and the same for every age."""
    lines = [re.sub(r" +", " ", line).strip() for line in table.splitlines()]
    return [re.sub(r"\b(\d+[smh])+\b", "AGE", line) for line in lines if line]


def test_apply_again_changes_nothing(kubectl: Kubectl) -> None:
    assert kubectl("apply", "-f", "-", stdin=MANIFEST).splitlines() == [
        "namespace/shop unchanged",
        "service/web unchanged",
        "pod/web-1 unchanged",
        "node/n1 unchanged",
    ]


def test_get(kubectl: Kubectl) -> None:
    assert squeeze(kubectl("get", "svc,pods", "-n", "shop", "-o", "wide")) == [
        "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR",
        "service/web NodePort 10.96.0.80 <none> 80:30080/TCP AGE app=web",
        "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES",
        "pod/web-1 0/1 Pending 0 AGE <none> n1 <none> <none>",
    ]
    assert squeeze(kubectl("get", "ns")) == [
        "NAME STATUS AGE",
        "default Active AGE",
        "kube-node-lease Active AGE",
        "kube-public Active AGE",
        "kube-system Active AGE",
        "shop Active AGE",
    ]
    assert kubectl("get", "svc", "web", "-n", "shop", "-o", "jsonpath={.spec.clusterIP}") == "10.96.0.80"
    assert kubectl("get", "pods", "-A", "--field-selector", "spec.nodeName=n1", "-o", "name") == "pod/web-1\n"
    assert 'services "nope" not found' in kubectl("get", "svc", "nope", "-n", "shop", fails=True)


def test_api_resources(kubectl: Kubectl) -> None:
    listed = kubectl("api-resources", "-o", "name").split()
    expected = ["configmaps", "endpoints", "events", "namespaces", "nodes", "pods", "services"]
    grouped = [
        "endpointslices.discovery.k8s.io",
        "leases.coordination.k8s.io",
        "servicecidrs.networking.k8s.io",
    ]
    assert sorted(listed) == sorted([*expected, *grouped])
    assert squeeze(kubectl("get", "servicecidrs")) == ["NAME CIDRS AGE", "kubernetes 10.96.0.0/16 AGE"]


def test_describe(kubectl: Kubectl) -> None:
    event = """
apiVersion: v1
kind: Event
metadata: {name: web.1, namespace: shop}
involvedObject: {kind: Service, name: web, namespace: shop}
type: Normal
reason: Tested
message: it was looked at
count: 1
"""
    uid = kubectl("get", "svc", "web", "-n", "shop", "-o", "jsonpath={.metadata.uid}")
    kubectl("apply", "-f", "-", stdin=event.replace("kind: Service,", f"kind: Service, uid: {uid},"))
    described = squeeze(kubectl("describe", "svc", "web", "-n", "shop"))
    assert {"Name: web", "Type: NodePort", "IP: 10.96.0.80", "NodePort: http 30080/TCP"} <= set(described)
    assert any("it was looked at" in line for line in described)
    assert "Node: n1/" in squeeze(kubectl("describe", "pod", "web-1", "-n", "shop"))
    assert "PodCIDR: 10.244.0.0/24" in squeeze(kubectl("describe", "node", "n1"))
    assert "Status: Active" in squeeze(kubectl("describe", "ns", "shop"))


def test_explain(kubectl: Kubectl) -> None:
    """kubectl 1.20 from OpenAPI v2, later ones from v3."""
    lines = squeeze(kubectl("explain", "service.spec.ports"))
    fields = {line.partition("\t")[0]: line.partition("\t")[2] for line in lines if "\t<" in line}
    assert fields == {
        "appProtocol": "<string>",
        "name": "<string>",
        "nodePort": "<integer>",
        "port": "<integer> -required-",
        "protocol": "<string>",
        "targetPort": "<string>",
    }


@pytest.mark.parametrize(
    ("kind", "spec", "complaint"),
    [
        pytest.param("Service", {"slector": {"a": "b"}}, 'unknown field "slector" in', id="unknown field"),
        pytest.param(
            "Service", {"ports": [{"port": "x"}]}, 'got "string", expected "integer"', id="another type"
        ),
        pytest.param(
            "Pod", {"containers": [{"ports": [{}]}]}, 'missing required field "containerPort"', id="missing"
        ),
    ],
)
def test_validation_before_anything_is_sent(
    kubectl: Kubectl, kind: str, spec: object, complaint: str
) -> None:
    value = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "wrong"}, "spec": spec}

    assert complaint in kubectl("create", "--validate=true", "-f", "-", stdin=json.dumps(value), fails=True)


def test_diff_asks_the_server_and_changes_nothing(kubectl: Kubectl, environment: dict[str, str]) -> None:
    def diff(manifest: str, *options: str) -> tuple[int, list[str]]:
        command = ["kubectl", "diff", *options, "-f", "-"]
        done = subprocess.run(
            command,
            input=manifest,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.stderr == ""
        return done.returncode, [
            line for line in done.stdout.splitlines() if re.match(r"[+-](?![+-]{2} )", line)
        ]

    kubectl("apply", "-f", "-", stdin=config_map("d", a="1"))
    changed = config_map("d", a="2")
    before = kubectl("get", "cm", "d", "-n", "shop", "-o", "yaml")
    assert diff(MANIFEST) == (0, [])
    assert diff(changed) == (1, ['-  a: "1"', '+  a: "2"'])
    code, lines = diff(changed, "--server-side", "--force-conflicts")
    assert (code, {'-  a: "1"', '+  a: "2"'} - set(lines)) == (1, set())
    assert kubectl("get", "cm", "d", "-n", "shop", "-o", "yaml") == before
    assert kubectl("apply", "--dry-run=server", "-f", "-", stdin=changed) == (
        "configmap/d configured (server dry run)\n"
    )
    assert kubectl("get", "cm", "d", "-n", "shop", "-o", "yaml") == before


def test_create_edit_patch_and_delete(kubectl: Kubectl) -> None:
    def read(path: str) -> str:
        return kubectl("get", "cm", "c", "-n", "shop", "-o", f"jsonpath={path}")

    assert kubectl("create", "-f", "-", stdin=config_map("c", a="1")) == "configmap/c created\n"
    assert 'configmaps "c" already exists' in kubectl("create", "-f", "-", stdin=config_map("c"), fails=True)
    edited = kubectl("edit", "cm", "c", "-n", "shop", editor="sed -i s/\\ a:.*/\\ a:\\ two/")
    assert (edited, read("{.data.a}")) == ("configmap/c edited\n", "two")
    kubectl("patch", "cm", "c", "-n", "shop", "-p", '{"data":{"b":"3"}}')
    kubectl("patch", "cm", "c", "-n", "shop", "--type=json", "-p", '[{"op":"remove","path":"/data/a"}]')
    kubectl("patch", "cm", "c", "-n", "shop", "--type=merge", "-p", '{"data":{"c":"4"}}')
    kubectl("label", "cm", "c", "-n", "shop", "tier=front")
    assert read("{.data} {.metadata.labels.tier}") == '{"b":"3","c":"4"} front'
    assert kubectl("get", "cm", "-A", "-l", "tier=front", "-o", "name") == "configmap/c\n"
    assert kubectl("delete", "cm", "c", "-n", "shop") == 'configmap "c" deleted\n'
    kubectl("get", "cm", "c", "-n", "shop", fails=True)


def test_a_list_entry_is_patched_by_its_key(kubectl: Kubectl) -> None:
    ports = [{"name": f"p{port}", "port": port, "targetPort": port + 8000} for port in (80, 81)]
    metadata = {"name": "two", "namespace": "shop"}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}}
    kubectl("create", "-f", "-", stdin=json.dumps(service))
    kubectl("patch", "svc", "two", "-n", "shop", "-p", '{"spec":{"ports":[{"port":81,"targetPort":9}]}}')
    targets = kubectl("get", "svc", "two", "-n", "shop", "-o", "jsonpath={.spec.ports[*].targetPort}")
    assert targets == "8080 9"
    refused = kubectl(
        "patch", "svc", "two", "-n", "shop", "-p", '{"spec":{"clusterIP":"10.96.9.9"}}', fails=True
    )
    assert 'spec.clusterIPs[0]: Invalid value: ["10.96.9.9"]: may not change once set' in refused
    kubectl("delete", "svc", "two", "-n", "shop")


def test_create_by_words(kubectl: Kubectl) -> None:
    """In JSON up to 1.30, in protobuf since."""
    kubectl("create", "ns", "words")
    kubectl("create", "cm", "c", "--from-literal=a=1", "-n", "words")
    kubectl("create", "service", "nodeport", "web", "--tcp=80:8080", "--node-port=30090", "-n", "words")
    assert kubectl("get", "cm,svc", "-n", "words", "-o", "name").split() == ["configmap/c", "service/web"]
    assert kubectl("get", "cm", "c", "-n", "words", "-o", "jsonpath={.data}") == '{"a":"1"}'
    path = "jsonpath={range .spec.ports[*]}{.port} {.targetPort} {.nodePort}{end}"
    assert kubectl("get", "svc", "web", "-n", "words", "-o", path) == "80 8080 30090"


def test_drain(kubectl: Kubectl) -> None:
    """Its deletions are in protobuf since 1.31."""
    pod = """
apiVersion: v1
kind: Pod
metadata: {name: drained, namespace: shop}
spec: {nodeName: n2, containers: [{name: c, image: x}]}
"""
    kubectl("create", "-f", "-", stdin="apiVersion: v1\nkind: Node\nmetadata: {name: n2}\n")
    kubectl("create", "-f", "-", stdin=pod)
    kubectl("drain", "n2", "--force", "--grace-period=0")
    assert kubectl("get", "pods", "-A", "--field-selector", "spec.nodeName=n2", "-o", "name") == ""
    assert kubectl("get", "node", "n2", "-o", "jsonpath={.spec.unschedulable}") == "true"


def test_server_side_apply(kubectl: Kubectl) -> None:
    kubectl("apply", "--server-side", "-f", "-", stdin=config_map("s", a="1", b="1"))
    kubectl("apply", "--server-side", "-f", "-", stdin=config_map("s", b="1"))
    assert kubectl("get", "cm", "s", "-n", "shop", "-o", "jsonpath={.data}") == '{"b":"1"}'


def test_watch(kubectl: Kubectl, environment: dict[str, str]) -> None:
    command = ["kubectl", "get", "cm", "w", "-n", "shop", "--watch", "-o", "jsonpath={.data.a}{'\\n'}"]
    kubectl("create", "-f", "-", stdin=config_map("w", a="1"))
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        try:
            first = watch.stdout.readline()
            kubectl("patch", "cm", "w", "-n", "shop", "-p", '{"data":{"a":"2"}}')
            second = watch.stdout.readline()
        finally:
            watch.kill()

    assert (first, second) == ("1\n", "2\n")


def test_a_pod_becomes_an_endpoint_and_goes(kubectl: Kubectl) -> None:
    def addresses() -> str:
        path = "jsonpath={.items[*].endpoints[*].addresses[0]}"
        return kubectl(
            "get", "endpointslices", "-n", "shop", "-l", "kubernetes.io/service-name=web", "-o", path
        )

    pod = json.loads(kubectl("get", "pod", "web-1", "-n", "shop", "-o", "json"))
    pod["status"] = {
        "phase": "Running",
        "podIP": "10.244.0.5",
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    kubectl("replace", "--raw", "/api/v1/namespaces/shop/pods/web-1/status", "-f", "-", stdin=json.dumps(pod))
    await_value(addresses, "10.244.0.5")
    assert squeeze(kubectl("get", "endpoints", "web", "-n", "shop")) == [
        "NAME ENDPOINTS AGE",
        "web 10.244.0.5:8080 AGE",
    ]
    assert "Endpoints: 10.244.0.5:8080" in squeeze(kubectl("describe", "svc", "web", "-n", "shop"))
    kubectl("delete", "pod", "web-1", "-n", "shop", "--grace-period=1")
    await_value(addresses, "")


def test_a_namespace_takes_its_objects_along(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin="apiVersion: v1\nkind: Namespace\nmetadata: {name: gone}\n")
    kubectl("create", "-n", "gone", "-f", "-", stdin=config_map("c", namespace="gone"))
    assert kubectl("delete", "ns", "gone") == 'namespace "gone" deleted\n'
    assert kubectl("get", "cm", "-A", "--field-selector", "metadata.namespace=gone", "-o", "name") == ""


def await_value(read: Callable[[], str], expected: str) -> None:
    """Ask until the answer is as expected; each question takes kubectl a good while."""
    deadline = time.monotonic() + LIMIT_S
    while (found := read()) != expected:
        assert time.monotonic() < deadline, found
