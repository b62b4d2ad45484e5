"""Whether this kernel can do mode ipvs, and if not, which modules it lacks."""

import os
from pathlib import Path

from nodeplane.datapath.ipvs.table import KernelIpvs
from nodeplane.errors import KernelNotFoundError, SetupError

_DUMMY = "dummy"
_MODULES = Path("/lib/modules")
_LOADED = Path("/sys/module")


def open_ipvs(scheduler: str) -> KernelIpvs:
    """Open IPVS.

    Raises:
        SetupError: the kernel has none; names the modules that are missing.
    """
    try:
        ipvs = KernelIpvs()
    except KernelNotFoundError as exc:
        missing = ["ip_vs", *find_missing([f"ip_vs_{scheduler}", _DUMMY], os.uname().release)]
        raise SetupError(_describe(missing)) from exc
    missing = find_missing([f"ip_vs_{scheduler}", _DUMMY], os.uname().release)
    # Without a list of modules nobody can tell: the first sync will.
    if missing and (_MODULES / os.uname().release / "modules.dep").exists():
        ipvs.close()
        raise SetupError(_describe(missing))
    return ipvs


def find_missing(
    modules: list[str], release: str, *, installed: Path = _MODULES, loaded: Path = _LOADED
) -> list[str]:
    """Return those of some modules that are neither loaded nor installed nor part of the kernel itself."""
    known: set[str] = set()
    for name in ("modules.dep", "modules.builtin"):
        try:
            lines = (installed / release / name).read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        known.update(_name(line.partition(":")[0]) for line in lines)
    return [module for module in modules if module not in known and not (loaded / module).exists()]


def _name(path: str) -> str:
    # kernel/net/netfilter/ipvs/ip_vs.ko.xz; to the kernel '-' and '_' are the same.
    return path.rpartition("/")[2].partition(".")[0].replace("-", "_")


def _describe(missing: list[str]) -> str:
    plural = "s" if len(missing) > 1 else ""
    return f"mode ipvs: this kernel lacks the module{plural} {', '.join(missing)}; mode nftables does without"
