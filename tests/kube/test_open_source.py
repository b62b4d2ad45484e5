"""Files or an API server: exactly one of them."""

import subprocess
import sys
from pathlib import Path

import pytest

from nodeplane.errors import ConfigError
from nodeplane.kube.apiserver import ApiServerSource
from nodeplane.kube.manifests import ManifestDirectory
from nodeplane.kube.open_source import open_source

M, K = Path("manifests"), Path("kubeconfig")


@pytest.mark.parametrize(
    ("manifests", "kubeconfig", "master", "expected"),
    [
        pytest.param(M, None, None, ManifestDirectory, id="manifests"),
        pytest.param(None, K, None, ApiServerSource, id="kubeconfig"),
        pytest.param(None, K, "https://h", ApiServerSource, id="kubeconfig and master"),
    ],
)
def test_choice(
    manifests: Path | None, kubeconfig: Path | None, master: str | None, expected: type[object]
) -> None:
    """What the user chose; nothing is read before the source is."""
    assert type(open_source(manifests, kubeconfig, master)) is expected


@pytest.mark.parametrize(
    ("manifests", "kubeconfig", "master", "expected"),
    [
        pytest.param(None, None, None, "--manifests, --kubeconfig: expected exactly one of them", id="none"),
        pytest.param(M, K, None, "--manifests, --kubeconfig: expected exactly one of them", id="both"),
        pytest.param(
            None, None, "https://h", "--manifests, --kubeconfig: expected exactly one", id="master alone"
        ),
        pytest.param(
            M, None, "https://h", "--master: expected it together with --kubeconfig only", id="master"
        ),
    ],
)
def test_wrong_choice(
    manifests: Path | None, kubeconfig: Path | None, master: str | None, expected: str
) -> None:
    """Anything else is wrong usage."""
    with pytest.raises(ConfigError, match=expected):
        open_source(manifests, kubeconfig, master)


@pytest.mark.parametrize("module", ["kubeproxy.cli", "cni.agent.cli", "coredns_lite.cli"])
def test_manifests_cost_no_http_client(module: str) -> None:
    """Who follows files does not pay 100 ms and 15 MB for a client of API servers."""
    code = (
        f"import sys, {module}; from nodeplane.kube.open_source import open_source;"
        "open_source('manifests', None); sys.exit('httpx2' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
