"""Fields that are known and of no effect."""

from pathlib import Path

import pytest

from kubeproxy.config.file import read_config
from kubeproxy.config.unsupported import find_unsupported
from tests.kubeproxy.config.test_file import HEAD, KUBEADM


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        pytest.param("configSyncPeriod: 15m\niptables: {syncPeriod: 30000ms}\n", [], id="defaults"),
        pytest.param(
            "featureGates: {X: true, AllowServiceExternalIPs: false}\n", ["featureGates.X"], id="gates"
        ),
        pytest.param("clientConnection: {qps: 50, burst: 10}\n", ["clientConnection.qps"], id="client"),
        pytest.param(
            "logging: {format: json, verbosity: 4, flushFrequency: 1s}\n",
            ["logging.flushFrequency"],
            id="log",
        ),
        pytest.param(
            "logging: {vmodule: [{filePattern: x, verbosity: 1}]}\n", ["logging.vmodule"], id="vmodule"
        ),
        pytest.param(
            "logging: {options: {json: {splitStream: true}}}\n",
            ["logging.options.json.splitStream"],
            id="options",
        ),
        pytest.param(
            "enableProfiling: true\nportRange: 1-2\n", ["enableProfiling", "portRange"], id="profiling"
        ),
        pytest.param(
            "iptables: {masqueradeAll: true, localhostNodePorts: false}\n"
            "ipvs: {scheduler: rr, excludeCIDRs: [10.0.0.0/8]}\n",
            ["iptables.masqueradeAll", "iptables.localhostNodePorts", "ipvs.scheduler", "ipvs.excludeCIDRs"],
            id="other modes",
        ),
        pytest.param(
            "mode: ipvs\nipvs: {scheduler: wlc}\n"
            "iptables: {masqueradeAll: true, localhostNodePorts: false}\n",
            ["iptables.localhostNodePorts"],
            id="mode ipvs",
        ),
        pytest.param(
            "winkernel: {enableDSR: true}\nwindowsRunAsService: true\n",
            ["winkernel.enableDSR", "windowsRunAsService"],
            id="Windows",
        ),
        pytest.param(
            "showHiddenMetricsForVersion: '1.35'\nconfigSyncPeriod: 1h\n",
            ["showHiddenMetricsForVersion", "configSyncPeriod"],
            id="rest",
        ),
    ],
)
def test_unsupported(tmp_path: Path, text: str, fields: list[str]) -> None:
    """Each such field is named once, defaults are not."""
    (tmp_path / "config.yaml").write_text(HEAD + text)

    found = [line.partition(":")[0] for line in find_unsupported(read_config(tmp_path / "config.yaml"))]

    assert found == fields


def test_kubeadm(tmp_path: Path) -> None:
    """A file of defaults gives no warning."""
    (tmp_path / "config.yaml").write_text(KUBEADM)

    assert list(find_unsupported(read_config(tmp_path / "config.yaml"))) == []
