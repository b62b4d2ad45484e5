"""Manifests of a topology: what of them is refused, and what is kept."""

from pathlib import Path
from textwrap import dedent

import pytest

from netns_lab.loader import read_lab
from nodeplane.errors import ConfigError
from tests.netns_lab.samples import service

NODES = "nodes: [{name: n1}, {name: n2}]\n"
HEAD = f"name: lab\n{NODES}"
WEB = """\
manifests:
  - kind: Service
    apiVersion: v1
    metadata: {name: web}
    spec:
      ports:
        - port: 80
"""
KEY = "expected a key such as app or example.com/app (up to 63 letters, digits, '-', '_', '.')"
VALUE = "expected a label's value (up to 63 letters, digits, '-', '_', '.')"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param(
            HEAD + WEB.replace("80", "99999"),
            "9: manifests[0].spec.ports[0].port: expected `int` <= 65535, got '99999'",
            id="port of an inline manifest",
        ),
        pytest.param(
            HEAD + WEB.replace("spec:", "spec:\n      clusterIP: 10.1.2.3"),
            "8: manifests[0].spec.clusterIP: expected an address in serviceCIDR 10.96.0.0/16, got '10.1.2.3'",
            id="cluster IP outside of the range",
        ),
        pytest.param(
            HEAD + WEB.replace("spec:", "spec:\n      clusterIP: 10.96.0.10"),
            "8: manifests[0].spec.clusterIP: expected each address once, got '10.96.0.10'",
            id="cluster IP of the cluster DNS",
        ),
        pytest.param(
            HEAD + WEB.replace("spec:", "spec:\n      clusterIP: 10.96.0.1"),
            "8: manifests[0].spec.clusterIP: expected each address once, got '10.96.0.1'",
            id="cluster IP of the API server's own Service",
        ),
        pytest.param(
            f"{HEAD}{WEB}{WEB.removeprefix('manifests:')}".replace("\n\n", "\n"),
            "12: manifests[1].metadata.name: expected each object once, Service/default/web is here twice, "
            "got 'web'",
            id="service twice",
        ),
        pytest.param(
            f"{HEAD}manifests:\n  - {{kind: Pod, apiVersion: v1, metadata: {{name: web}}}}\n",
            "4: manifests[0].kind: expected Service, EndpointSlice or Namespace, got 'Pod'",
            id="a kind that the lab makes itself",
        ),
        pytest.param(
            HEAD
            + WEB.replace("spec:", "spec:\n      type: NodePort").replace("80", "80\n          nodePort: 99"),
            "11: manifests[0].spec.ports[0].nodePort: expected a port number from 30000 to 32767, got '99'",
            id="node port outside of the range",
        ),
        pytest.param(
            HEAD + WEB.replace("80", "80\n          nodePort: 30000"),
            "10: manifests[0].spec.ports[0].nodePort: expected only with type NodePort or LoadBalancer, "
            "got '30000'",
            id="node port of a ClusterIP Service",
        ),
        pytest.param(
            HEAD
            + "manifests:\n"
            + "".join(
                f"  - {{kind: Service, apiVersion: v1, metadata: {{name: {name}}}, "
                "spec: {type: NodePort, ports: [{port: 1, nodePort: 30000}]}}\n"
                for name in "ab"
            ),
            "5: manifests[1].spec.ports[0].nodePort: expected each protocol and node port once, got '30000'",
            id="node port twice",
        ),
        pytest.param(
            HEAD + WEB.replace("spec:", "spec:\n      ipFamilies: [IPv6]"),
            "8: manifests[0].spec.ipFamilies: expected [IPv4], the lab has no other addresses",
            id="another family",
        ),
        pytest.param(
            HEAD + WEB.replace("spec:", "spec:\n      ipFamilyPolicy: RequireDualStack"),
            "8: manifests[0].spec.ipFamilyPolicy: expected SingleStack or PreferDualStack, "
            "the lab has IPv4 alone, got 'RequireDualStack'",
            id="two families",
        ),
        pytest.param(
            HEAD + WEB.replace("web", "kubernetes"),
            "6: manifests[0].metadata.name: expected another name, the API server makes "
            "Service/default/kubernetes, got 'kubernetes'",
            id="the API server's own Service",
        ),
        pytest.param(
            HEAD + WEB.replace("{name: web}", "{name: kube-dns, namespace: kube-system}"),
            "6: manifests[0].metadata.name: expected another name, the lab makes "
            "Service/kube-system/kube-dns, got 'kube-dns'",
            id="the lab's own Service",
        ),
        pytest.param(
            HEAD + WEB.replace("{name: web}", "{name: web, labels: {-a: b}}"),
            f"6: manifests[0].metadata.labels.-a: {KEY}, got 'b'",
            id="key of a label",
        ),
        pytest.param(
            HEAD + WEB.replace("{name: web}", "{name: web, labels: {a: 'b c'}}"),
            f"6: manifests[0].metadata.labels.a: {VALUE}, got 'b c'",
            id="value of a label",
        ),
        pytest.param(
            HEAD + WEB.replace("{name: web}", "{name: web, annotations: {'a b': c}}"),
            f"6: manifests[0].metadata.annotations.a b: {KEY}, got 'c'",
            id="key of an annotation",
        ),
        pytest.param(
            HEAD + WEB.replace("spec:", "spec:\n      selector: {a: -b}"),
            f"8: manifests[0].spec.selector.a: {VALUE}, got '-b'",
            id="selector",
        ),
        pytest.param(
            f"{HEAD}manifests: [absent.yaml]\n",
            "3: manifests[0]: expected an object or the path of a file, got 'absent.yaml'",
            id="manifest file that is not there",
        ),
    ],
)
def test_refused(text: str, error: str, tmp_path: Path) -> None:
    """Errors start with the place; what follows the file's name is compared whole."""
    path = tmp_path / "lab.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError) as caught:
        read_lab(path)

    assert str(caught.value) == f"{path}:{error}"


def test_refused_in_a_manifest_file(tmp_path: Path) -> None:
    """The place is in the manifest's own file."""
    (tmp_path / "web.yaml").write_text(
        "kind: Service\napiVersion: v1\nmetadata: {name: web}\nspec:\n  ports: []\n"
    )
    (tmp_path / "lab.yaml").write_text(f"{HEAD}manifests: [web.yaml]\n")

    with pytest.raises(ConfigError) as caught:
        read_lab(tmp_path / "lab.yaml")

    assert str(caught.value) == f"{tmp_path / 'web.yaml'}:5: spec.ports: expected at least one port"


def test_manifests_inline_and_by_path(tmp_path: Path) -> None:
    """Several objects may share a file, by documents or by a list; order and raw fields are kept."""
    (tmp_path / "lab.yaml").write_text(
        HEAD
        + dedent("""\
            manifests:
              - kind: Service
                apiVersion: v1
                metadata: {name: web, namespace: default}
                spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}
              - more/services.yaml
            """)
    )
    (tmp_path / "more").mkdir()
    (tmp_path / "more/services.yaml").write_text(
        dedent("""\
            apiVersion: v1
            kind: List
            items:
              - kind: Service
                apiVersion: v1
                metadata: {name: a, namespace: x}
                spec: {clusterIP: None, sessionAffinity: ClientIP}
            ---
            kind: Service
            apiVersion: v1
            metadata: {name: b, namespace: x}
            spec: {clusterIP: None}
            ---
            kind: ServiceList
            apiVersion: v1
            items:
              - metadata: {name: c, namespace: x}
                spec: {clusterIP: None}
            """)
    )

    assert [manifest.raw for manifest in read_lab(tmp_path / "lab.yaml").manifests] == [
        service(selector={"app": "web"}, ports=[{"port": 80, "targetPort": "http"}]),
        service("a", "x", clusterIP="None", sessionAffinity="ClientIP"),
        service("b", "x", clusterIP="None"),
        service("c", "x", clusterIP="None"),
    ]
