"""What one file of manifests says, and what is refused about it."""

from pathlib import Path

import pytest

from nodeplane.errors import ConfigError
from nodeplane.kube import manifest_file
from nodeplane.kube.manifest_file import read_manifest
from nodeplane.kube.objects import KINDS, Endpoint, EndpointSlice, Metadata, Namespace, Node, Object
from tests.kube.objects import keyed, manifest, namespace, service
from tests.kube.recordings import RECORDINGS, recorded_items

WEB, DB = service("web"), service("db")
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n"


@pytest.fixture(autouse=True, params=["whole", "by entries"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a list in JSON read either way."""
    if request.param == "by entries":
        monkeypatch.setattr(manifest_file, "_SMALL_TEXT", 0)


@pytest.mark.parametrize(
    ("text", "objects"),
    [
        pytest.param("", (), id="empty"),
        pytest.param(SERVICE, (WEB,), id="one, in namespace default"),
        pytest.param(
            f"{SERVICE}---\n# nothing\n---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: n}}\n",
            (WEB, namespace("n")),
            id="documents, one of them empty",
        ),
        pytest.param(
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Node, metadata: {name: n1}}\n"
            "- {apiVersion: apps/v1, kind: Deployment}\n"
            "- {apiVersion: v1, kind: Namespace, metadata: {name: n}}\n",
            (Node(Metadata("n1")), namespace("n")),
            id="kubectl's List",
        ),
        pytest.param(
            "apiVersion: v1\nkind: NamespaceList\nitems: [{metadata: {name: a}}, {metadata: {name: b}}]",
            (namespace("a"), namespace("b")),
            id="an API server's list: the head says the kind",
        ),
        pytest.param("apiVersion: v1\nkind: List\nitems:\n", (), id="list of nothing"),
        pytest.param(
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: List, items: [\n"
            "  {apiVersion: v1, kind: NamespaceList, items: [{metadata: {name: n}}]}]}\n",
            (namespace("n"),),
            id="lists in a list",
        ),
        pytest.param(
            f"{SERVICE}".replace("{name: web}", "{name: web, namespace: , labels: }"),
            (WEB,),
            id="blank fields",
        ),
        pytest.param("apiVersion: v1\nkind: ServiceList\n", (), id="list without items"),
        pytest.param(
            "apiVersion: apps/v1\nkind: Deployment\nspec: 5\n", (), id="unknown kind, not looked into"
        ),
        pytest.param("apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\n", (), id="another version"),
        pytest.param(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a, namespace: b}\n"
            "addressType: IPv4\nports: null\n"
            "endpoints: [{addresses: [10.0.0.1], conditions: {ready: null}}]\n",
            (EndpointSlice(Metadata("a", "b"), "IPv4", (Endpoint(("10.0.0.1",)),)),),
            id="nulls",
        ),
        pytest.param(manifest(WEB, DB), (WEB, DB), id="JSON"),
        pytest.param(
            '{"apiVersion": "v1", "items": [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}},'
            ' {"apiVersion": "v1", "kind": "NamespaceList", "items": [{"metadata": {"name": "n"}}]}],'
            ' "kind": "List"}',
            (Node(Metadata("n1")), namespace("n")),
            id="kubectl's List in JSON: the kind stands behind",
        ),
        pytest.param(
            '{"apiVersion": "v1", "items": [{"metadata": {"name": "n"}}], "kind": "NamespaceList"}',
            (namespace("n"),),
            id="the kind of all stands behind",
        ),
        pytest.param(
            '{"apiVersion": "example.org/v1", "kind": "Bag", "items":'
            ' [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}]}',
            (),
            id="items of what is no List",
        ),
        pytest.param(
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: b}\n",
            (Namespace(Metadata("a", "b")),),
            id="namespace of a cluster-scoped object",
        ),
    ],
)
def test_read_manifest(text: str, objects: tuple[Object, ...], tmp_path: Path) -> None:
    """A file holds any number of objects; kinds that nodeplane does not use are left out."""
    path = tmp_path / "a.yaml"
    path.write_text(text)

    assert read_manifest(path) == keyed(*objects)


@pytest.mark.parametrize("name", ["endpointslices", "services", "namespaces", "nodes", "pods"])
def test_a_recorded_list_is_a_manifest(name: str) -> None:
    """What `kubectl get --raw` prints can be used as it is."""
    objects = read_manifest(RECORDINGS / f"list-{name}.json")

    assert [key.name for key in objects] == [
        item["metadata"]["name"] for item in recorded_items(f"list-{name}.json")
    ]
    assert {key.kind for key in objects} <= set(KINDS.values())


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param("kind: [\n", ":2: expected YAML: did not find expected node content", id="no YAML"),
        pytest.param("web\n", ":1: expected a Kubernetes object (a mapping), got 'web'", id="no mapping"),
        pytest.param("# c\nkind: Service\n", ":2: apiVersion: expected a text", id="no apiVersion"),
        pytest.param("apiVersion: v1\nkind: 5\n", ":2: kind: expected a text, got '5'", id="no kind"),
        pytest.param(
            f"{SERVICE}---\napiVersion: v1\nkind: Service\n", ":6: metadata: expected a value", id="second"
        ),
        pytest.param(
            "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n"
            "  ports:\n  - port: 80\n  - port: 99999\n",
            ":7: spec.ports[1].port: expected `int` <= 65535, got '99999'",
            id="port out of range",
        ),
        pytest.param(
            SERVICE.replace("port: 80", "port: 80, protocol: tcp"),
            ":4: spec.ports[0].protocol: expected one of SCTP, TCP, UDP, got 'tcp'",
            id="protocol",
        ),
        pytest.param(
            SERVICE.replace("name: web", "name: Web"),
            ":3: metadata.name: expected a DNS label (lower case, digits, '-'), got 'Web'",
            id="what an API server would refuse",
        ),
        pytest.param(
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: n}}\n"
            "- {apiVersion: v1,\n   kind: Service, metadata: {name: a, namespace: A_B}}\n",
            ":6: items[1].metadata.namespace: expected a DNS label (lower case, digits, '-'), got 'A_B'",
            id="in a list",
        ),
        pytest.param(
            '{"apiVersion": "v1", "kind": "NamespaceList", "items": [\n{"metadata": {"name": "n"}},\n'
            '{"metadata": {"name": "A_B"}}]}',
            ":3: items[1].metadata.name: expected a DNS label (lower case, digits, '-'), got 'A_B'",
            id="in a list in JSON",
        ),
        pytest.param(
            "apiVersion: v1\nkind: List\nitems: 5\n",
            ":3: items: expected a list of objects, got '5'",
            id="no list",
        ),
        pytest.param(
            "apiVersion: v1\nkind: List\nitems:\n- a\n",
            ":4: items[0]: expected a Kubernetes object (a mapping), got 'a'",
            id="no object in a list",
        ),
        pytest.param(
            "apiVersion: v1\nkind: List\nitems:\n- {metadata: {name: a}}\n",
            ":4: items[0].kind: expected a text",
            id="a List says nothing of its items",
        ),
        pytest.param(
            f"{SERVICE}---\n{SERVICE}",
            ":8: metadata.name: expected each object once, Service/default/web is here twice, got 'web'",
            id="object twice",
        ),
    ],
)
def test_refused(text: str, error: str, tmp_path: Path) -> None:
    """The first thing that is wrong, in one line: file, line, field and what is expected."""
    path = tmp_path / "a.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError) as caught:
        read_manifest(path)

    assert (str(caught.value), caught.value.exit_code) == (f"{path}{error}", 2)
