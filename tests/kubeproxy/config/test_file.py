"""Configuration files: what they come to, and what is said about a wrong one."""

from pathlib import Path

import msgspec
import pytest
import yaml

from kubeproxy.config.file import read_config
from kubeproxy.config.model import (
    Conntrack,
    DetectLocal,
    KubeProxyConfiguration,
    NFTables,
)
from kubeproxy.config.resolve import write_config
from kubeproxy.config.unsupported import find_unsupported
from nodeplane.errors import ConfigError

DEPLOY = Path(__file__).parents[3] / "deploy" / "kubeproxy"

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
DEFAULT = msgspec.structs.replace(
    KubeProxyConfiguration(), healthz_bind_address="0.0.0.0:10256", metrics_bind_address="127.0.0.1:10249"
)

# What kubeadm writes: nothing is set, everything is there.
KUBEADM = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
kind: KubeProxyConfiguration
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: "0"
    text:
      infoBufferSize: "0"
  verbosity: 0
metricsBindAddress: ""
mode: ""
nftables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: ""
  rootHnsEndpointName: ""
  sourceVip: ""
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        pytest.param("", {}, id="nothing"),
        pytest.param("mode: nftables\n", {}, id="mode"),
        pytest.param(
            "bindAddress: '::'\n",
            {
                "bind_address": "::",
                "healthz_bind_address": "[::]:10256",
                "metrics_bind_address": "[::1]:10249",
            },
            id="IPv6",
        ),
        pytest.param(
            "nftables: {masqueradeAll: true, masqueradeBit: 9, syncPeriod: 1m, minSyncPeriod: 100ms}\n",
            {
                "nftables": NFTables(
                    masquerade_all=True, masquerade_bit=9, sync_period="1m", min_sync_period="100ms"
                )
            },
            id="nftables",
        ),
        pytest.param(
            "detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cni0}\n",
            {"detect_local_mode": "BridgeInterface", "detect_local": DetectLocal(bridge_interface="cni0")},
            id="bridge",
        ),
        pytest.param(
            "nodePortAddresses: [10.0.0.0/8, 'fd00::/8']\noomScoreAdj: 0\n",
            {"node_port_addresses": ("10.0.0.0/8", "fd00::/8"), "oom_score_adj": 0},
            id="node ports",
        ),
        pytest.param(
            "conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 2h, tcpBeLiberal: true}\n",
            {"conntrack": Conntrack(max_per_core=0, tcp_established_timeout="2h", tcp_be_liberal=True)},
            id="conntrack",
        ),
    ],
)
def test_read(file: Path, text: str, changes: dict[str, object]) -> None:
    """A file says what differs from the defaults."""
    file.write_text(HEAD + text)

    assert read_config(file) == msgspec.structs.replace(DEFAULT, **changes)


def test_kubeadm(file: Path) -> None:
    """Zeros and empty words are defaults, as Go has it."""
    file.write_text(KUBEADM)
    expected = msgspec.structs.replace(
        DEFAULT,
        client_connection=msgspec.structs.replace(
            DEFAULT.client_connection, kubeconfig="/var/lib/kube-proxy/kubeconfig.conf"
        ),
        cluster_cidr="10.244.0.0/16",
        logging=read_config(file).logging,
    )

    assert read_config(file) == expected


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        pytest.param("mod: x\n", 3, "mod: expected no such field, got 'x'", id="unknown"),
        pytest.param(
            "conntrack:\n  tcpTimeout: 1h\n",
            4,
            "conntrack.tcpTimeout: expected no such field, got '1h'",
            id="deep",
        ),
        pytest.param(
            "mode: iptables\n", 3, "mode: expected one of auto, ipvs, nftables, got 'iptables'", id="mode"
        ),
        pytest.param(
            "nftables: {masqueradeBit: 32}\n",
            3,
            "nftables.masqueradeBit: expected `int` <= 31, got '32'",
            id="bit",
        ),
        pytest.param(
            "oomScoreAdj: -1001\n", 3, "oomScoreAdj: expected `int` >= -1000, got '-1001'", id="oom"
        ),
        pytest.param(
            "clusterCIDR: 10.0.0.0\n", 3, "clusterCIDR: expected a CIDR such as 10.0.0.0/8", id="cidr"
        ),
        pytest.param(
            "clusterCIDR: 10.0.0.0/8,10.1.0.0/16\n",
            3,
            "clusterCIDR: expected one CIDR, or one of each",
            id="two",
        ),
        pytest.param(
            "nodePortAddresses: [primary, 10.0.0.0/8]\n",
            3,
            "nodePortAddresses: expected 'primary' alone, or CIDRs",
            id="primary",
        ),
        pytest.param(
            "nftables:\n  syncPeriod: 30\n", 4, "nftables.syncPeriod: expected `str`, got `int`", id="number"
        ),
        pytest.param(
            "nftables:\n  syncPeriod: 30 s\n",
            4,
            "nftables.syncPeriod: expected a duration such as 1h15m30s, got '30 s'",
            id="duration",
        ),
        pytest.param(
            "nftables: {minSyncPeriod: 1m}\n",
            3,
            "nftables.minSyncPeriod: expected at most syncPeriod",
            id="order",
        ),
        pytest.param(
            "conntrack: {udpTimeout: -1s}\n",
            3,
            "conntrack.udpTimeout: expected no negative duration",
            id="negative",
        ),
        pytest.param(
            "healthzBindAddress: host:80\n", 3, "healthzBindAddress: expected an IP address", id="host"
        ),
        pytest.param("metricsBindAddress: 127.0.0.1:0\n", 3, "metricsBindAddress: expected an IP", id="port"),
        pytest.param("bindAddress: x\n", 3, "bindAddress: expected an IP address, got 'x'", id="bind"),
        pytest.param("detectLocalMode: Bridge\n", 3, "detectLocalMode: expected one of", id="local"),
        pytest.param(
            "detectLocalMode: BridgeInterface\n",
            3,
            "detectLocal.bridgeInterface: expected an interface name of 1 to 15 bytes",
            id="no bridge",
        ),
        pytest.param(
            "hostnameOverride: a b\n", 3, "hostnameOverride: expected the name of a Node", id="name"
        ),
        pytest.param(
            "mode: nftables\nmode: nftables\n", 4, "expected YAML: found key 'mode' twice", id="twice"
        ),
    ],
)
def test_wrong(file: Path, text: str, line: int, message: str) -> None:
    """A wrong file is one line that names file, line, field and what is expected."""
    file.write_text(HEAD + text)
    with pytest.raises(ConfigError) as caught:
        read_config(file)

    assert str(caught.value).startswith(f"{file}:")
    assert message in str(caught.value)
    # What is not there has no line of its own.
    assert str(caught.value).startswith(f"{file}:{line}: ") or "bridgeInterface" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "expected one YAML document, got 0", id="empty"),
        pytest.param(HEAD + "---\n" + HEAD, "expected one YAML document, got 2", id="two"),
        pytest.param("[]", "expected a KubeProxyConfiguration", id="list"),
        pytest.param(
            "kind: KubeProxyConfiguration\n",
            "apiVersion: expected kubeproxy.config.k8s.io/v1alpha1",
            id="no version",
        ),
        pytest.param(
            HEAD.replace("v1alpha1", "v1"),
            "apiVersion: expected kubeproxy.config.k8s.io/v1alpha1, got 'kubeproxy.config.k8s.io/v1'",
            id="other version",
        ),
        pytest.param(
            HEAD.replace("KubeProxy", "Kubelet"), "kind: expected KubeProxyConfiguration", id="other kind"
        ),
    ],
)
def test_another_file(file: Path, text: str, message: str) -> None:
    """What is no configuration of this program is refused by name."""
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml") as caught:
        read_config(file)

    assert message in str(caught.value)


def test_written_and_read(file: Path) -> None:
    """What --write-config-to writes is what --config reads."""
    config = msgspec.structs.replace(DEFAULT, cluster_cidr="10.244.0.0/16", node_port_addresses=("primary",))
    write_config(config, file)

    assert read_config(file) == config


@pytest.mark.parametrize("name", ["config.yaml", "daemonset.yaml"])
def test_what_we_ship(file: Path, name: str) -> None:
    """The examples under deploy/ are right, and nothing in them is without effect."""
    text = (DEPLOY / name).read_text()
    if name == "daemonset.yaml":
        text = next(yaml.safe_load_all(text))["data"]["config.yaml"]
    file.write_text(text)

    assert list(find_unsupported(read_config(file))) == []
