"""Settings of the kernel that mode ipvs depends on; which of them depends on its version.

Upstream's (k/k pkg/proxy/ipvs/proxier.go), and strictARP from the start: else the node answers for services'
addresses on every link, and takes them from whoever announces them (metallb #153).
"""

import re
from collections.abc import Iterator

from kubeproxy.host_settings import SysctlValue, write_sysctls
from nodeplane.datapath.ipvs.service import Timeouts
from nodeplane.datapath.ipvs.table import Ipvs
from nodeplane.datapath.sysctl import Sysctls

_VS = "net.ipv4.vs."
_REUSE_IS_RIGHT = (5, 9)


def build_settings(release: str) -> Iterator[SysctlValue]:
    """Yield the settings for a kernel release such as 6.1.0-18-amd64."""
    # Without it our rules don't see whom IPVS has translated, and masquerade nobody.
    yield SysctlValue(_VS + "conntrack", 1)
    # Before 5.9 a client's port that was used again met a delay of a second (k/k #81775), so upstream keeps
    # its real server there; since then it is led anew at once (f0a5e4d7a594).
    yield SysctlValue(_VS + "conn_reuse_mode", 1 if _version(release) >= _REUSE_IS_RIGHT else 0)
    # What is led to a real server that is gone is led anew, not dropped until its time is up.
    yield SysctlValue(_VS + "expire_nodest_conn", 1)
    # A remembered client leaves a real server of weight 0.
    yield SysctlValue(_VS + "expire_quiescent_template", 1)
    # Answers of endpoints to other hosts are forwarded.
    yield SysctlValue("net.ipv4.ip_forward", 1)
    yield SysctlValue("net.ipv4.conf.all.arp_ignore", 1)
    yield SysctlValue("net.ipv4.conf.all.arp_announce", 2)


def apply_settings(sysctls: Sysctls, release: str) -> None:
    """Write what is not as it should be; what can't be written is named in the log."""
    write_sysctls(sysctls, build_settings(release))


def apply_timeouts(ipvs: Ipvs, wanted: Timeouts) -> None:
    """Set the time-outs that are configured; 0 leaves the kernel's."""
    there = ipvs.timeouts()
    fresh = Timeouts(
        wanted.tcp_s or there.tcp_s, wanted.tcp_fin_s or there.tcp_fin_s, wanted.udp_s or there.udp_s
    )
    if fresh != there:
        ipvs.set_timeouts(wanted)


def _version(release: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", release)
    # One that says nothing of its version is a new one.
    return (int(found[1]), int(found[2])) if found else _REUSE_IS_RIGHT
