"""Flags: each is a place in the configuration."""

from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner

from kubeproxy.config.complete import complete
from kubeproxy.config.flag_table import FLAGS
from kubeproxy.config.flags import (
    Given,
    config_flags,
    config_from_flags,
    is_turned_off,
    override_from_flags,
)
from kubeproxy.config.model import (
    IPVS,
    Conntrack,
    DetectLocal,
    IPTables,
    KubeProxyConfiguration,
    Logging,
    NFTables,
)
from nodeplane.errors import ConfigError

DEFAULT = complete(KubeProxyConfiguration())


def given(*arguments: str) -> dict[str, Any]:
    """Parse a command line as the program does."""
    kept: dict[str, Any] = {}

    @click.command()
    @config_flags
    def command(flags: Given | None = None) -> None:
        kept.update(flags or {})

    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.output
    return kept


def test_places() -> None:
    """Every flag's place is in the configuration, and no two flags share one."""
    raw = msgspec.to_builtins(KubeProxyConfiguration())
    for flag in FLAGS:
        part = raw
        for step in flag.path:
            part = part[step]
    assert len({flag.path for flag in FLAGS}) == len(FLAGS) == len({flag.name for flag in FLAGS})


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        pytest.param((), {}, id="none"),
        pytest.param(
            ("--cluster-cidr", "10.0.0.0/8,fd00::/8"), {"cluster_cidr": "10.0.0.0/8,fd00::/8"}, id="cidr"
        ),
        pytest.param(("--masquerade-all",), {"nftables": NFTables(masquerade_all=True)}, id="bool"),
        pytest.param(("--masquerade-all=true",), {"nftables": NFTables(masquerade_all=True)}, id="true"),
        pytest.param(("--masquerade-all=false",), {}, id="false"),
        pytest.param(
            ("--masquerade-all", "--nftables-masquerade-bit", "0", "--sync-period=1m"),
            {"nftables": NFTables(masquerade_all=True, masquerade_bit=0, sync_period="1m")},
            id="nftables",
        ),
        pytest.param(
            ("--detect-local-mode", "InterfaceNamePrefix", "--pod-interface-name-prefix", "veth"),
            {
                "detect_local_mode": "InterfaceNamePrefix",
                "detect_local": DetectLocal(interface_name_prefix="veth"),
            },
            id="interfaces",
        ),
        pytest.param(
            ("--nodeport-addresses", "10.0.0.0/8,fd00::/8"),
            {"node_port_addresses": ("10.0.0.0/8", "fd00::/8")},
            id="list",
        ),
        pytest.param(("--nodeport-addresses", ""), {}, id="empty list"),
        pytest.param(
            ("--conntrack-max-per-core", "0", "--conntrack-tcp-timeout-established", "0"),
            {"conntrack": Conntrack(max_per_core=0, tcp_established_timeout="0")},
            id="conntrack",
        ),
        pytest.param(
            ("--metrics-bind-address", "192.0.2.1"), {"metrics_bind_address": "192.0.2.1"}, id="address"
        ),
        pytest.param(("--oom-score-adj=-998",), {"oom_score_adj": -998}, id="negative"),
        pytest.param(
            ("--feature-gates", "AllowServiceExternalIPs=false, X=true,"),
            {"feature_gates": {"AllowServiceExternalIPs": False, "X": True}},
            id="feature gates",
        ),
        pytest.param(
            ("--logging-format=json", "--v=4", "--log-flush-frequency=1s"),
            {"logging": Logging(format="json", verbosity=4, flush_frequency="1s")},
            id="logging",
        ),
        pytest.param(
            ("--ipvs-strict-arp", "--ipvs-scheduler=rr", "--iptables-localhost-nodeports=false"),
            {"ipvs": IPVS(strict_arp=True, scheduler="rr"), "iptables": IPTables(localhost_node_ports=False)},
            id="other modes",
        ),
    ],
)
def test_flags(arguments: tuple[str, ...], changes: dict[str, object]) -> None:
    """A flag changes its place and nothing else."""
    assert config_from_flags(given(*arguments)) == msgspec.structs.replace(DEFAULT, **changes)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {"--cluster-cidr": "10.0.0.0"},
            "--cluster-cidr: expected a CIDR such as 10.0.0.0/8, got '10.0.0.0'",
        ),
        ({"--nftables-masquerade-bit": 32}, "--nftables-masquerade-bit: expected `int` <= 31, got 32"),
        ({"--feature-gates": "X=yes"}, "--feature-gates: expected NAME=true or NAME=false, got 'X=yes'"),
        ({"--conntrack-min": -1}, "--conntrack-min: expected `int` >= 0, got -1"),
        ({"--sync-period": "1"}, "--sync-period: expected a duration such as 1h15m30s, got '1'"),
        (
            {"--healthz-bind-address": "lo:1"},
            "--healthz-bind-address: expected an IP address and a port, such as 127.0.0.1:10249, got 'lo:1'",
        ),
        (
            {"--detect-local-mode": "BridgeInterface"},
            "--pod-bridge-interface: expected an interface name of 1 to 15 bytes with mode BridgeInterface",
        ),
    ],
)
def test_wrong_flag(flags: dict[str, object], message: str) -> None:
    """An error names the flag."""
    with pytest.raises(ConfigError) as caught:
        config_from_flags(flags)

    assert str(caught.value) == message


def test_beside_a_file() -> None:
    """Beside a file only addresses and the mode count."""
    config = msgspec.structs.replace(DEFAULT, cluster_cidr="10.0.0.0/8")
    fresh = override_from_flags(
        config, {"--cluster-cidr": "10.1.0.0/16", "--metrics-bind-address": "127.0.0.1:1"}
    )

    assert fresh == msgspec.structs.replace(config, metrics_bind_address="127.0.0.1:1")


def test_turned_off() -> None:
    """An empty address turns a server off; one that is not given does not."""
    assert is_turned_off(given("--metrics-bind-address", ""), "--metrics-bind-address")
    assert not is_turned_off(given(), "--metrics-bind-address")
