"""A person's kubeconfig, and what of it becomes the lab's programs' own."""

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import yaml

from netns_lab.remote_server import RemoteServer, read_remote, render_inside
from nodeplane.errors import ConfigError


def write(folder: Path, cluster: dict[str, Any], user: dict[str, Any] | None = None) -> Path:
    """Write a kubeconfig of two clusters, of which the second is the current one's."""
    config = {
        "clusters": [
            {"name": "a", "cluster": {"server": "https://a.test"}},
            {"name": "b", "cluster": cluster},
        ],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "c", "context": {"cluster": "b", "user": "u", "namespace": "x"}}],
        "current-context": "c",
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.parametrize(
    ("server", "host", "port"),
    [
        pytest.param("https://api.test", "api.test", 443, id="HTTPS' own port"),
        pytest.param("http://127.0.0.1", "127.0.0.1", 80, id="HTTP's own port"),
        pytest.param("https://127.0.0.1:34567/prefix", "127.0.0.1", 34567, id="a port that is said"),
        pytest.param("https://[2001:db8::1]:6443", "2001:db8::1", 6443, id="IPv6"),
    ],
)
def test_read_remote(server: str, host: str, port: int, tmp_path: Path) -> None:
    path = write(tmp_path, {"server": server})

    assert read_remote(path) == RemoteServer(str(path), host, port)


@pytest.mark.parametrize(
    ("cluster", "user", "inside", "who"),
    [
        pytest.param(
            {"server": "https://127.0.0.1:34567/prefix", "certificate-authority-data": "Q0E="},
            {"token": "t"},
            {
                "server": "https://172.30.0.1:6443/prefix",
                "certificate-authority-data": "Q0E=",
                "tls-server-name": "127.0.0.1",
            },
            {"token": "t"},
            id="the certificate is for the server's own name",
        ),
        pytest.param(
            {
                "server": "https://api.test",
                "tls-server-name": "kubernetes",
                "certificate-authority": "ca.crt",
            },
            {"tokenFile": "token", "client-certificate": "me.crt", "client-key": "/abs/me.key"},
            {
                "server": "https://172.30.0.1:6443",
                "certificate-authority": "{folder}/ca.crt",
                "tls-server-name": "kubernetes",
            },
            {
                "tokenFile": "{folder}/token",
                "client-certificate": "{folder}/me.crt",
                "client-key": "/abs/me.key",
            },
            id="files stay where they are",
        ),
        pytest.param(
            {"server": "http://127.0.0.1:8080"},
            {},
            {"server": "http://172.30.0.1:6443"},
            {},
            id="without TLS",
        ),
        pytest.param(
            {"server": "http://127.0.0.1:8080"},
            {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "bin/login"}},
            {"server": "http://172.30.0.1:6443"},
            {
                "exec": {
                    "apiVersion": "client.authentication.k8s.io/v1",
                    "command": "{folder}/bin/login",
                    "interactiveMode": "IfAvailable",
                }
            },
            id="a plugin",
        ),
    ],
)
def test_render_inside(
    cluster: dict[str, Any], user: dict[str, Any], inside: dict[str, Any], who: dict[str, Any], tmp_path: Path
) -> None:
    rendered = yaml.safe_load(render_inside(write(tmp_path, cluster, user), IPv4Address("172.30.0.1")))

    def placed(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: placed(entry) for name, entry in value.items()}
        return value.replace("{folder}", str(tmp_path))

    assert rendered["clusters"][0]["cluster"] == placed(inside)
    assert rendered["users"][0]["user"] == placed(who)
    assert rendered["current-context"] == rendered["contexts"][0]["name"]


@pytest.mark.parametrize(
    ("cluster", "error"),
    [
        pytest.param(
            {"server": "ftp://x"},
            "clusters[1].cluster.server: expected an http:// or https:// URL, got 'ftp://x'",
            id="no URL",
        ),
        pytest.param(
            {"server": "https://x", "proxy-url": "http://y"},
            "clusters[1].cluster.proxy-url: expected a server that is reached without a proxy, got 'http://y'",
            id="a proxy",
        ),
    ],
)
def test_refused(cluster: dict[str, Any], error: str, tmp_path: Path) -> None:
    path = write(tmp_path, cluster)

    with pytest.raises(ConfigError) as caught:
        read_remote(path)

    assert str(caught.value).endswith(error)
    assert str(caught.value).startswith(f"{path}:")
