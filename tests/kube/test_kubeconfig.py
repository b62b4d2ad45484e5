"""A kubeconfig leads to one server and one user, or to one line that says why not."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from nodeplane.errors import ConfigError
from nodeplane.kube.kubeconfig import read_service_account, read_target

CLUSTER: dict[str, Any] = {"server": "https://10.0.0.1:6443"}
EXEC: dict[str, Any] = {"apiVersion": "client.authentication.k8s.io/v1", "command": "get-token"}


def kubeconfig(cluster: Any = CLUSTER, user: Any = None, **changes: Any) -> dict[str, Any]:
    """Build the document of a kubeconfig."""
    context = {"cluster": "lab", **({"user": "me"} if user is not None else {})}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "contexts": [{"name": "lab", "context": context}],
        "clusters": [{"name": "other", "cluster": CLUSTER}, {"name": "lab", "cluster": cluster}],
        "users": [{"name": "me", "user": user}] if user is not None else None,
        **changes,
    }


def write(folder: Path, document: Any) -> Path:
    """Write a kubeconfig."""
    path = folder / "kubeconfig"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document, sort_keys=False))
    return path


def test_what_is_read(tmp_path: Path) -> None:
    """The fields of the current context's cluster and user, those that lightkube leaves out too."""
    cluster = {
        **CLUSTER,
        "certificate-authority": "ca.crt",
        "tls-server-name": "kubernetes",
        "proxy-url": "http://proxy:3128",
        "extensions": [{"name": "unknown"}],
    }
    plugin = {**EXEC, "args": ["-v"], "env": [{"name": "A", "value": "1"}], "provideClusterInfo": True}
    target = read_target(write(tmp_path, kubeconfig(cluster, {"exec": plugin})), None)

    assert target.directory == tmp_path
    assert msgspec.to_builtins(target.cluster) == {
        "server": "https://10.0.0.1:6443",
        "certificate-authority": "ca.crt",
        "tls-server-name": "kubernetes",
        "proxy-url": "http://proxy:3128",
    }
    assert msgspec.to_builtins(target.user) == {"exec": {**plugin}}


def test_master_replaces_the_server(tmp_path: Path) -> None:
    """`--master` is where to go; how to prove who is who stays the kubeconfig's."""
    target = read_target(write(tmp_path, kubeconfig(user={"token": "t"})), "https://192.0.2.1:1")

    assert (target.cluster.server, target.user.token) == ("https://192.0.2.1:1", "t")


def test_another_context(tmp_path: Path) -> None:
    """A context that is named counts in place of the current one; it has to be there."""
    document = kubeconfig(user={"token": "t"})
    document["contexts"].append({"name": "spare", "context": {"cluster": "other"}})
    document["current-context"] = ""
    path = write(tmp_path, document)

    tokens = [read_target(path, None, name).user.token for name in ("lab", "spare")]
    assert tokens == ["t", None]
    with pytest.raises(ConfigError) as caught:
        read_target(path, None, "prod")
    assert str(caught.value) == f"{path}:5: contexts: expected the name of a context: lab, spare"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param("", ": expected one document, a kubeconfig, got 0", id="empty file"),
        pytest.param("- 1", ":1: expected `object`, got `array`", id="no mapping"),
        pytest.param("a: [", ": expected YAML: ", id="no YAML"),
        pytest.param(
            kubeconfig(**{"current-context": ""}),
            ":3: current-context: expected the name of a",
            id="no context",
        ),
        pytest.param(
            kubeconfig(**{"current-context": "x"}),
            ":3: current-context: expected the name of a context: lab, got 'x'",
            id="unknown context",
        ),
        pytest.param(
            kubeconfig(clusters=[]),
            ":7: contexts[0].context.cluster: expected the name of a cluster: there are none, got 'lab'",
            id="unknown cluster",
        ),
        pytest.param(
            kubeconfig(user={"token": "t"}, users=None),
            ":8: contexts[0].context.user: expected the name of a user:",
            id="unknown user",
        ),
        pytest.param(
            kubeconfig(user={"token": 7}),
            ": users[0].user.token: expected `str | null`, got `int`",
            id="token a number",
        ),
        pytest.param(
            kubeconfig({"server": "10.0.0.1:6443"}),
            ": clusters[1].cluster.server: expected an http:// or https:// URL, got '10.0.0.1:6443'",
            id="no URL",
        ),
        pytest.param(
            kubeconfig({**CLUSTER, "proxy-url": "socks5://p:1"}),
            ": clusters[1].cluster.proxy-url: expected an http:// or https:// URL, got 'socks5://p:1'",
            id="SOCKS",
        ),
        pytest.param(
            kubeconfig({**CLUSTER, "insecure-skip-tls-verify": True, "certificate-authority": "a"}),
            ": clusters[1].cluster.insecure-skip-tls-verify: expected no certificate authority with it",
            id="insecure with an authority",
        ),
        pytest.param(
            kubeconfig(user={"client-certificate": "a"}),
            ": users[0].user.client-key: expected client-key or",
            id="certificate without a key",
        ),
        pytest.param(
            kubeconfig(user={"client-key-data": "a"}),
            ": users[0].user.client-certificate: expected client-cert",
            id="key without a certificate",
        ),
        pytest.param(
            kubeconfig(user={"as": "admin"}),
            ": users[0].user.as: expected no impersonation",
            id="impersonation",
        ),
        pytest.param(
            kubeconfig(user={"auth-provider": {"name": "gcp"}}),
            ": users[0].user.auth-provider: expected exec",
            id="auth provider",
        ),
        pytest.param(
            kubeconfig(user={"exec": {**EXEC, "apiVersion": "client.authentication.k8s.io/v1alpha1"}}),
            ": users[0].user.exec: expected apiVersion to be one of",
            id="exec of another version",
        ),
        pytest.param(
            kubeconfig(user={"exec": {**EXEC, "interactiveMode": "Always"}}),
            ": users[0].user.exec: expected a plugin that needs no terminal",
            id="exec with a terminal",
        ),
        pytest.param(
            kubeconfig(user={"exec": {"command": "x"}}),
            ": users[0].user.exec.apiVersion: expected a value",
            id="exec without a version",
        ),
    ],
)
def test_wrong(tmp_path: Path, document: Any, expected: str) -> None:
    """One line with file, line, field and what is expected."""
    with pytest.raises(ConfigError) as caught:
        read_target(write(tmp_path, document), None)

    text = str(caught.value)
    assert expected in text
    assert text.startswith(str(tmp_path / "kubeconfig"))
    assert "\n" not in text


def test_no_such_file(tmp_path: Path) -> None:
    """A missing file is named."""
    with pytest.raises(ConfigError, match=r"none: expected a readable file: No such file"):
        read_target(tmp_path / "none", None)


@pytest.mark.parametrize("master", ["10.0.0.1", "ftp://x", "https://", "https://x:99999", "http://[::1"])
def test_wrong_master(tmp_path: Path, master: str) -> None:
    """A master that is no URL is refused before anything else is tried."""
    with pytest.raises(ConfigError, match="--master: expected an http:// or https:// URL"):
        read_target(write(tmp_path, kubeconfig()), master)


@pytest.mark.parametrize(
    ("host", "server"),
    [
        pytest.param("10.96.0.1", "https://10.96.0.1:443", id="IPv4"),
        pytest.param("fd00::1", "https://[fd00::1]:443", id="IPv6"),
        pytest.param("kubernetes.default", "https://kubernetes.default:443", id="name"),
    ],
)
def test_service_account(tmp_path: Path, host: str, server: str) -> None:
    """Every pod finds the server in its environment, and its credentials as files that rotate."""
    target = read_service_account(
        tmp_path, {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "443"}
    )

    assert msgspec.to_builtins((target.cluster, target.user)) == (
        {"server": server, "certificate-authority": str(tmp_path / "ca.crt")},
        {"tokenFile": str(tmp_path / "token")},
    )


def test_outside_of_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for the service account outside of a pod, we say what a pod has."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    with pytest.raises(ConfigError, match="in-cluster: expected KUBERNETES_SERVICE_HOST"):
        read_target(Path("in-cluster"), None)
