"""Settings of the machine that a proxy depends on: connection tracking, and who is killed for memory.

As upstream (cmd/kube-proxy/app/server_linux.go): limits are raised and never lowered, timeouts are set as
configured. What can't be set is a warning: in a network namespace of its own (a container, the lab) the
limits are the whole machine's, and without the right the administrator has set them, or not.
"""

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from kubeproxy.config.settings import ConntrackSettings
from nodeplane.datapath.sysctl import Sysctls
from nodeplane.errors import KernelError

_PREFIX = "net.netfilter.nf_conntrack_"
# A table with four entries a bucket at most is as large as upstream makes it.
_ENTRIES_PER_BUCKET = 4

log = logging.getLogger(__name__)


class SysctlValue(msgspec.Struct, frozen=True):
    """A setting and the value that it should have, or with `is_minimum` at least."""

    name: str
    value: int
    is_minimum: bool = False

    def accepts(self, current: str) -> bool:
        """Say whether what is there need not be written."""
        if not current.isdigit():
            return False
        return int(current) >= self.value if self.is_minimum else int(current) == self.value


def build_sysctls(conntrack: ConntrackSettings, cores: int) -> Iterator[SysctlValue]:
    """Yield the settings of connection tracking; a configured 0 leaves what is there."""
    if conntrack.max_per_core:
        limit = max(conntrack.max_per_core * cores, conntrack.minimum)
        yield SysctlValue(_PREFIX + "max", limit, is_minimum=True)
        yield SysctlValue(_PREFIX + "buckets", limit // _ENTRIES_PER_BUCKET, is_minimum=True)
    for name, timeout_s in (
        ("tcp_timeout_established", conntrack.tcp_established_timeout_s),
        ("tcp_timeout_close_wait", conntrack.tcp_close_wait_timeout_s),
        ("udp_timeout", conntrack.udp_timeout_s),
        ("udp_timeout_stream", conntrack.udp_stream_timeout_s),
    ):
        if timeout_s:
            yield SysctlValue(_PREFIX + name, timeout_s)
    if conntrack.tcp_be_liberal:
        yield SysctlValue(_PREFIX + "tcp_be_liberal", 1)


def apply_sysctls(sysctls: Sysctls, conntrack: ConntrackSettings) -> None:
    """Write what is not as it should be; what can't be written is named in the log."""
    write_sysctls(sysctls, build_sysctls(conntrack, os.cpu_count() or 1))


def write_sysctls(sysctls: Sysctls, settings: Iterable[SysctlValue]) -> None:
    """Write the settings that are not as they should be; what can't be written is named in the log."""
    for wanted in settings:
        try:
            before = sysctls.read(wanted.name)
            if not wanted.accepts(before):
                sysctls.write(wanted.name, wanted.value)
                log.info("sysctl set name=%s value=%d before=%s", wanted.name, wanted.value, before)
        except KernelError as exc:
            log.warning("sysctl not set name=%s value=%d error=%r", wanted.name, wanted.value, str(exc))


def apply_oom_score_adj(score: int, file: Path = Path("/proc/self/oom_score_adj")) -> None:
    """Say how soon the kernel ends this process when memory runs out (proc(5)); sparing it needs a right."""
    try:
        # Writing needs a right even where it changes nothing.
        if int(file.read_text(encoding="ascii")) != score:
            file.write_text(f"{score}\n", encoding="ascii")
    except OSError as exc:
        log.warning("oom_score_adj not set value=%d error=%r", score, exc.strerror)
