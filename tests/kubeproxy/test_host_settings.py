"""Settings of the machine: which are written, and what becomes of those that can't be."""

import logging
from pathlib import Path

import pytest

from kubeproxy.config.settings import ConntrackSettings
from kubeproxy.host_settings import SysctlValue, apply_oom_score_adj, apply_sysctls, build_sysctls
from nodeplane.datapath.sysctl import FakeSysctls, KernelSysctls
from tests.netns_fixture import namespace

P = "net.netfilter.nf_conntrack_"
UPSTREAM = ConntrackSettings(32768, 131072, 86400, 3600)
LIMITS = (P + "max", P + "buckets")
TIMES = (P + "tcp_timeout_established", P + "tcp_timeout_close_wait")


@pytest.mark.parametrize(
    ("settings", "cores", "expected"),
    [
        pytest.param(ConntrackSettings(), 8, [], id="all left alone"),
        pytest.param(
            UPSTREAM,
            2,
            [
                SysctlValue(P + "max", 131072, is_minimum=True),
                SysctlValue(P + "buckets", 32768, is_minimum=True),
                SysctlValue(P + "tcp_timeout_established", 86400),
                SysctlValue(P + "tcp_timeout_close_wait", 3600),
            ],
            id="default, few cores",
        ),
        pytest.param(
            ConntrackSettings(32768, 131072),
            8,
            [
                SysctlValue(P + "max", 262144, is_minimum=True),
                SysctlValue(P + "buckets", 65536, is_minimum=True),
            ],
            id="many cores",
        ),
        pytest.param(ConntrackSettings(minimum=131072), 8, [], id="no limit a core, no minimum"),
        pytest.param(
            ConntrackSettings(tcp_be_liberal=True, udp_timeout_s=30, udp_stream_timeout_s=120),
            1,
            [
                SysctlValue(P + "udp_timeout", 30),
                SysctlValue(P + "udp_timeout_stream", 120),
                SysctlValue(P + "tcp_be_liberal", 1),
            ],
            id="the rest",
        ),
    ],
)
def test_build(settings: ConntrackSettings, cores: int, expected: list[SysctlValue]) -> None:
    """A 0 leaves what is there."""
    assert list(build_sysctls(settings, cores)) == expected


def test_apply() -> None:
    """Limits are never lowered, times are set, what is right is not written."""
    sysctls = FakeSysctls({LIMITS[0]: 1 << 30, LIMITS[1]: 1 << 30, TIMES[0]: 432000, TIMES[1]: 3600})
    apply_sysctls(sysctls, UPSTREAM)

    assert sysctls.values == {
        LIMITS[0]: str(1 << 30),
        LIMITS[1]: str(1 << 30),
        TIMES[0]: "86400",
        TIMES[1]: "3600",
    }
    assert sysctls.writes == 1


def test_what_is_not_there_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Each is named, and the others are set all the same."""
    sysctls = FakeSysctls({TIMES[1]: 60})
    with caplog.at_level(logging.WARNING):
        apply_sysctls(sysctls, UPSTREAM)

    assert sysctls.values == {TIMES[1]: "3600"}
    assert [message.split()[3] for message in caplog.messages] == [
        f"name={name}" for name in (*LIMITS, TIMES[0])
    ]


@pytest.mark.netns
def test_in_a_namespace(caplog: pytest.LogCaptureFixture) -> None:
    """Timeouts are the namespace's own; a limit that can't be set there is a warning."""
    with namespace() as ns, caplog.at_level(logging.WARNING):
        sysctls = KernelSysctls(ns)
        limit = sysctls.read(LIMITS[0])
        apply_sysctls(sysctls, ConntrackSettings(1 << 29, 0, 4321, 1234, tcp_be_liberal=True))
        found = [sysctls.read(name) for name in (*TIMES, P + "tcp_be_liberal")]
        after = sysctls.read(LIMITS[0])

    assert (found, after) == (["4321", "1234", "1"], limit)
    assert [message.partition(" value")[0] for message in caplog.messages] == [
        f"sysctl not set name={name}" for name in LIMITS
    ]


def test_oom_score_adj(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Written where it differs; without the right it is a warning."""
    file = tmp_path / "oom_score_adj"
    file.write_text("0\n")
    apply_oom_score_adj(-999, file)
    file.chmod(0o400)
    apply_oom_score_adj(-999, file)
    with caplog.at_level(logging.WARNING):
        apply_oom_score_adj(-999, tmp_path / "none")

    assert file.read_text() == "-999\n"
    assert caplog.messages == ["oom_score_adj not set value=-999 error='No such file or directory'"]
