"""From words to values, and from settings to the options of the rules."""

from ipaddress import ip_address, ip_network

import msgspec
import pytest

from kubeproxy.config.complete import complete
from kubeproxy.config.model import IPVS, Conntrack, DetectLocal, IPTables, KubeProxyConfiguration, NFTables
from kubeproxy.config.settings import (
    ConntrackSettings,
    IpvsSettings,
    NodePortAddresses,
    Settings,
    build_rule_options,
    build_settings,
)
from kubeproxy.rules.rule_options import RuleOptions, SourceInterface, SourceNetwork
from nodeplane.datapath.ipvs.service import Timeouts
from nodeplane.datapath.nft.expr import Family
from nodeplane.runtime.listen import ListenAddress

V4, V6 = ip_network("10.244.0.0/16"), ip_network("fd00:244::/56")
DEFAULT = Settings(
    healthz=ListenAddress("0.0.0.0", 10256),  # noqa: S104  # upstream's default
    metrics=ListenAddress("127.0.0.1", 10249),
    oom_score_adj=-999,
    conntrack=ConntrackSettings(32768, 131072, 86400, 3600),
)


def configured(**fields: object) -> KubeProxyConfiguration:
    return complete(msgspec.structs.replace(KubeProxyConfiguration(), **fields))


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        pytest.param(configured(), {}, id="default"),
        pytest.param(
            configured(bind_address="192.0.2.1"), {"node_ips": (ip_address("192.0.2.1"),)}, id="bind address"
        ),
        pytest.param(
            configured(healthz_bind_address="192.0.2.1", metrics_bind_address="[::1]:99"),
            {"healthz": ListenAddress("192.0.2.1", 10256), "metrics": ListenAddress("::1", 99)},
            id="listening",
        ),
        pytest.param(
            configured(nftables=NFTables(min_sync_period="1s", sync_period="1m")),
            {"sync_period_s": 60.0, "min_sync_interval_s": 1.0},
            id="periods",
        ),
        pytest.param(
            configured(node_port_addresses=("primary",)),
            {"node_port_addresses": NodePortAddresses(is_primary=True)},
            id="primary",
        ),
        pytest.param(
            configured(conntrack=Conntrack(0, 0, "0s", "1500ms", tcp_be_liberal=True, udp_timeout="30s")),
            {"conntrack": ConntrackSettings(0, 0, 0, 2, tcp_be_liberal=True, udp_timeout_s=30)},
            id="conntrack",
        ),
        pytest.param(configured(ipvs=IPVS(scheduler="none")), {}, id="ipvs, in mode nftables"),
        pytest.param(
            configured(
                mode="ipvs",
                ipvs=IPVS(
                    sync_period="1m",
                    scheduler="wlc",
                    exclude_cidrs=("10.0.0.0/8",),
                    tcp_timeout="10m",
                    udp_timeout="1500ms",
                ),
                iptables=IPTables(masquerade_all=True, masquerade_bit=9),
            ),
            {
                "mode": "ipvs",
                "sync_period_s": 60.0,
                "masquerade_all": True,
                "masquerade_bit": 9,
                "ipvs": IpvsSettings("wlc", (ip_network("10.0.0.0/8"),), Timeouts(600, 0, 2)),
            },
            id="ipvs",
        ),
        pytest.param(
            configured(mode="auto", nftables=NFTables(masquerade_bit=20)),
            {"mode": "auto", "masquerade_bit": 20},
            id="auto",
        ),
    ],
)
def test_settings(config: KubeProxyConfiguration, changes: dict[str, object]) -> None:
    """Each word becomes a value."""
    assert build_settings(config) == msgspec.structs.replace(DEFAULT, **changes)


@pytest.mark.parametrize(
    ("config", "ip", "ip6"),
    [
        pytest.param(configured(), None, None, id="none"),
        pytest.param(configured(cluster_cidr=str(V4)), SourceNetwork(V4), None, id="ClusterCIDR, one"),
        pytest.param(
            configured(cluster_cidr=f"{V6},{V4}"), SourceNetwork(V4), SourceNetwork(V6), id="ClusterCIDR, two"
        ),
        pytest.param(
            configured(detect_local_mode="NodeCIDR", cluster_cidr="10.0.0.0/8"),
            SourceNetwork(ip_network("10.244.7.0/24")),
            SourceNetwork(ip_network("fd00:244:0:7::/64")),
            id="NodeCIDR",
        ),
        pytest.param(
            configured(
                detect_local_mode="BridgeInterface", detect_local=DetectLocal(bridge_interface="cni0")
            ),
            SourceInterface("cni0"),
            SourceInterface("cni0"),
            id="BridgeInterface",
        ),
        pytest.param(
            configured(
                detect_local_mode="InterfaceNamePrefix",
                detect_local=DetectLocal(interface_name_prefix="veth"),
            ),
            SourceInterface("veth", is_prefix=True),
            SourceInterface("veth", is_prefix=True),
            id="InterfaceNamePrefix",
        ),
    ],
)
def test_local_detector(config: KubeProxyConfiguration, ip: object, ip6: object) -> None:
    """Each family's rules know pods in their own way."""
    settings = build_settings(config)
    pods = (ip_network("10.244.7.0/24"), ip_network("fd00:244:0:7::/64"))
    families: tuple[Family, ...] = ("ip", "ip6")

    assert [build_rule_options(settings, family, pods).local_detector for family in families] == [ip, ip6]


@pytest.mark.parametrize(
    ("addresses", "ip", "ip6"),
    [
        pytest.param((), True, True, id="not given"),
        pytest.param(("primary",), False, False, id="primary"),
        pytest.param(("10.0.0.0/8",), False, True, id="one family"),
        pytest.param(("10.0.0.0/8", "fd00::/8"), False, False, id="both"),
        pytest.param(("0.0.0.0/0", "fd00::/8"), True, False, id="all of one"),
    ],
)
def test_node_port_everywhere(addresses: tuple[str, ...], ip: bool, ip6: bool) -> None:
    """A family that no CIDR speaks of is served everywhere."""
    settings = build_settings(configured(node_port_addresses=addresses))

    assert build_rule_options(settings, "ip", ()).node_port_everywhere == ip
    assert build_rule_options(settings, "ip6", ()).node_port_everywhere == ip6


def test_masquerade() -> None:
    """The bit and masqueradeAll reach the rules."""
    config = configured(nftables=NFTables(masquerade_bit=9, masquerade_all=True))

    assert build_rule_options(build_settings(config), "ip", ()) == RuleOptions(
        masquerade_bit=9, masquerade_all=True
    )
