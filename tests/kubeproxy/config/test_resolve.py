"""Which of file and flags counts."""

import logging
import os
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from kubeproxy.config.model import ClientConnection, KubeProxyConfiguration
from kubeproxy.config.resolve import resolve, resolve_kubeconfig, resolve_node_name
from nodeplane.errors import ConfigError
from nodeplane.runtime.listen import ListenAddress
from tests.kubeproxy.config.test_file import HEAD
from tests.kubeproxy.config.test_settings import DEFAULT


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(HEAD + "clusterCIDR: 10.0.0.0/8\nnftables: {minSyncPeriod: 2s}\nenableProfiling: true\n")
    return path


def test_without_file() -> None:
    """Flags alone."""
    resolved = resolve(None, {"--min-sync-interval": 0.5, "--metrics-bind-address": ""})

    assert (resolved.watch, resolved.settings.min_sync_interval_s, resolved.settings.metrics) == (
        None,
        0.5,
        None,
    )
    assert resolved.settings.healthz == DEFAULT.healthz


def test_with_file(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The file counts; what does not count is named, once each."""
    with caplog.at_level(logging.WARNING):
        resolved = resolve(
            file,
            {
                "--min-sync-interval": 0.5,
                "--cluster-cidr": "10.1.0.0/16",
                "--healthz-bind-address": "127.0.0.1:7",
                "--metrics-bind-address": "",
            },
        )

    assert resolved.config.cluster_cidr == "10.0.0.0/8"
    assert resolved.settings.min_sync_interval_s == 2.0
    assert (resolved.settings.healthz, resolved.settings.metrics) == (ListenAddress("127.0.0.1", 7), None)
    assert caplog.messages == [
        "flag ignored beside --config flag=--cluster-cidr",
        "flag ignored beside --config flag=--min-sync-interval",
        "configuration without effect enableProfiling: there are no pprof pages",
    ]


def test_node_name() -> None:
    """The flag's, else the file's, else the host's."""
    config = msgspec.structs.replace(KubeProxyConfiguration(), hostname_override=" N2 ")

    assert (resolve_node_name("n1", config), resolve_node_name(None, config)) == ("n1", "n2")
    assert resolve_node_name(None, KubeProxyConfiguration()) == os.uname().nodename.lower()


def test_no_node_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose name is no Node's needs the flag."""
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(nodename="My_Host"))

    with pytest.raises(ConfigError, match="--node-name: expected, since the host name 'my_host' can't be"):
        resolve_node_name(None, KubeProxyConfiguration())


@pytest.mark.parametrize(
    ("manifests", "kubeconfig", "expected"),
    [
        pytest.param(None, None, Path("/in/file"), id="the file's"),
        pytest.param(None, Path("/a"), Path("/a"), id="the flag's"),
        pytest.param(Path("/m"), None, None, id="manifests"),
    ],
)
def test_kubeconfig(manifests: Path | None, kubeconfig: Path | None, expected: Path | None) -> None:
    """The file's kubeconfig counts where no flag chooses a source."""
    config = msgspec.structs.replace(
        KubeProxyConfiguration(), client_connection=ClientConnection(kubeconfig="/in/file")
    )

    assert resolve_kubeconfig(manifests, kubeconfig, config) == expected
