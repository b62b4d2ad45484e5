"""Where the objects come from: each origin leads to the facts of the same objects, and nothing else."""

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from coredns_lite.plugins.kubernetes.cluster import open_cluster
from coredns_lite.plugins.kubernetes.configuration import Origin
from coredns_lite.plugins.kubernetes.facts import Scope
from coredns_lite.plugins.kubernetes.label_selector import parse_label_selector
from coredns_lite.plugins.kubernetes.metrics import ProgrammingLatency
from nodeplane.errors import ConfigError
from nodeplane.kube.objects import Object, ObjectKey
from tests.coredns_lite.objects import endpoint, namespace, pod, service, shrunk, slice_of
from tests.kube.api_cluster import running_api_cluster

OBJECTS: list[Object] = [
    service("web", "10.96.0.1", app="web"),
    service("db", "None"),
    slice_of("db-1", "db", [endpoint("10.1.0.1", "a"), endpoint("10.1.0.2", ready=False)], ports="sql:5432"),
    namespace("default"),
    namespace("team", tier="front"),
    pod("p", "10.1.0.1"),
    pod("done", "10.1.0.2", phase="Succeeded"),
]
SCOPES = [
    pytest.param(Scope(), id="all"),
    pytest.param(Scope(has_pods=True), id="pods"),
    pytest.param(Scope(has_endpoints=False), id="no endpoints"),
    pytest.param(Scope(namespaces=frozenset({"team"})), id="namespaces"),
    pytest.param(Scope(labels=parse_label_selector("app in (web)")), id="labels"),
    pytest.param(Scope(namespace_labels=parse_label_selector("tier")), id="namespace labels"),
]


def kubeconfig(path: Path, **urls: str) -> Path:
    """Write a kubeconfig with a context for each server; the current one is the first."""
    document = {
        "current-context": next(iter(urls)),
        "contexts": [{"name": name, "context": {"cluster": name}} for name in urls],
        "clusters": [{"name": name, "cluster": {"server": url}} for name, url in urls.items()],
    }
    path.write_text(json.dumps(document))
    return path


ORIGINS: dict[str, Callable[[Path, str], Origin]] = {
    "kubeconfig": lambda path, url: Origin(kubeconfig=kubeconfig(path, lab=url)),
    "context": lambda path, url: Origin(
        kubeconfig=kubeconfig(path, old="http://127.0.0.1:1", lab=url), context="lab"
    ),
    "endpoint": lambda _path, url: Origin(endpoint=url),
}


async def snapshot(origin: Origin, scope: Scope) -> dict[ObjectKey, Object | None]:
    """Return what the first batch brings."""
    async with aclosing(open_cluster(origin, scope, ProgrammingLatency()).batches(scope.kinds)) as batches:
        return {change.key: change.new for change in await anext(batches)}


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("origin", ORIGINS)
def test_an_api_server(origin: str, scope: Scope, tmp_path: Path) -> None:
    with running_api_cluster() as cluster:
        for item in OBJECTS:
            asyncio.run(cluster.put(item))
        found = asyncio.run(snapshot(ORIGINS[origin](tmp_path / "kubeconfig", cluster.url), scope))

    assert found == {key: fact for key, fact in shrunk(OBJECTS, scope).items() if key.kind in scope.kinds}


def test_a_context_that_is_not_there(tmp_path: Path) -> None:
    origin = Origin(kubeconfig=kubeconfig(tmp_path / "kubeconfig", lab="http://127.0.0.1:1"), context="prod")

    with pytest.raises(ConfigError) as caught:
        asyncio.run(snapshot(origin, Scope()))
    assert str(caught.value).endswith("contexts: expected the name of a context: lab")


def test_files_of_tls_that_are_not_there() -> None:
    origin = Origin(endpoint="https://127.0.0.1:1", tls=("/no/cert", "/no/key", "/no/ca"))

    with pytest.raises(ConfigError, match="certificate-authority: expected a readable file"):
        asyncio.run(snapshot(origin, Scope()))


def test_outside_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an option the cluster is that of the pod around us; outside one, that is said."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    with pytest.raises(ConfigError, match="in-cluster: expected KUBERNETES_SERVICE_HOST"):
        asyncio.run(snapshot(Origin(), Scope()))


def test_manifests(tmp_path: Path) -> None:
    """A directory delivers what is in the scope; what is not differs without a word."""
    text = json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
            "spec": {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}]},
        }
    )
    (tmp_path / "web.json").write_text(text)
    (tmp_path / "db.json").write_text(text.replace("web", "db"))

    found = asyncio.run(snapshot(Origin(manifests=tmp_path), Scope(labels=parse_label_selector("app=web"))))
    assert found == shrunk([service("web", "10.96.0.1")])
