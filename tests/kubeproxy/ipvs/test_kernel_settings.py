"""Settings by the kernel's version; time-outs only where they are configured."""

import pytest

from kubeproxy.ipvs.kernel_settings import apply_settings, apply_timeouts, build_settings
from nodeplane.datapath.ipvs.fake import FakeIpvs
from nodeplane.datapath.ipvs.service import Timeouts
from nodeplane.datapath.sysctl import FakeSysctls


@pytest.mark.parametrize(
    ("release", "reuse"),
    [("5.4.0-generic", 0), ("5.8.18", 0), ("5.9.0", 1), ("6.1.0-53-cloud-amd64", 1), ("next", 1)],
)
def test_reuse_of_ports(release: str, reuse: int) -> None:
    """0 where 1 means a second of delay (k/k #81775)."""
    settings = {each.name: each.value for each in build_settings(release)}

    assert settings["net.ipv4.vs.conn_reuse_mode"] == reuse
    assert settings["net.ipv4.vs.conntrack"] == settings["net.ipv4.conf.all.arp_ignore"] == 1


def test_a_second_start_writes_nothing() -> None:
    sysctls = FakeSysctls({each.name: 0 for each in build_settings("6.1")})
    apply_settings(sysctls, "6.1")
    before = sysctls.writes
    apply_settings(sysctls, "6.1")

    assert (before, sysctls.writes) == (7, 7)


@pytest.mark.parametrize(
    ("wanted", "expected", "writes"),
    [
        pytest.param(Timeouts(0, 0, 0), Timeouts(900, 120, 300), 0, id="none"),
        pytest.param(Timeouts(900, 0, 300), Timeouts(900, 120, 300), 0, id="as they are"),
        pytest.param(Timeouts(0, 30, 0), Timeouts(900, 30, 300), 1, id="one"),
    ],
)
def test_timeouts(wanted: Timeouts, expected: Timeouts, writes: int) -> None:
    ipvs = FakeIpvs()
    apply_timeouts(ipvs, wanted)

    assert (ipvs.timeouts(), ipvs.writes) == (expected, writes)
