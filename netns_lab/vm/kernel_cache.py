"""The guest's kernel: Debian's newest, fetched by apt, unpacked into a folder and never installed.

Installing it would run its hooks and may upgrade other packages. A folder of the cache is complete or not
there: it is made beside and renamed, under a lock that two commands wait for.
"""

import fcntl
import logging
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from netns_lab.tools import Tool, find_tool
from netns_lab.vm.kernel_image import unpack_kernel
from nodeplane.errors import NodeplaneError, SetupError

log = logging.getLogger(__name__)

META_PACKAGE = "linux-image-amd64"
"""Depends on Debian's newest kernel. The one for clouds has no 9p."""

_DEPMOD = Tool("depmod", "kmod")
_DPKG = Tool("dpkg-deb", "dpkg")
_APT_GET = Tool("apt-get", "apt")

_DEPENDENCY = re.compile(r"^Depends:.*?\b(linux-image-[0-9][^ ,]*) \(= ([^)]+)\)", re.MULTILINE)
_FETCHING = ".fetching-"


class Kernel(msgspec.Struct, frozen=True):
    """An unpacked kernel."""

    folder: Path

    @property
    def image(self) -> Path:
        """Return the kernel's file."""
        return self.folder / "vmlinux"

    @property
    def modules(self) -> Path:
        """Return what is /lib/modules in the guest."""
        return self.folder / "lib/modules"

    @property
    def release(self) -> str:
        """Return what `uname -r` says in the guest."""
        return next(self.modules.iterdir()).name


def default_cache() -> Path:
    """Return where kernels are kept: one place for root, each user's own for the others."""
    if os.geteuid() == 0:
        return Path("/var/cache/nodeplane/vm")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nodeplane/vm"


def find_kernel(cache: Path, *, newest: bool = False) -> Kernel:
    """Return the cached kernel; fetch it if there is none, or if the newest is wanted and it is another.

    Raises:
        SetupError: this machine, or its packages, can't provide one.
        NodeplaneError: apt failed.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache):
        there = _kernels(cache)
        if there and not newest:
            return there[-1]
        package, version = _newest_package()
        folder = cache / f"{package}_{version}"
        if not folder.exists():
            log.info("fetching the guest's kernel package=%s version=%s cache=%s", package, version, cache)
            _fetch(package, version, folder)
        os.utime(folder)
        # A guest that runs may still read the modules of the one before: it goes with the next one.
        for old in there[:-1]:
            if old.folder != folder:
                shutil.rmtree(old.folder)
        return Kernel(folder)


def decode_newest(description: str) -> tuple[str, str] | None:
    """Return package and version that the meta package depends on, out of what `apt-cache show` prints."""
    match = _DEPENDENCY.search(description)
    return (match[1], match[2]) if match else None


def _kernels(cache: Path) -> list[Kernel]:
    """Return the kernels that are there, the one that was asked for last at the end."""
    folders = [entry for entry in cache.iterdir() if entry.name.startswith("linux-image-")]
    return [Kernel(folder) for folder in sorted(folders, key=lambda folder: folder.stat().st_mtime_ns)]


def _newest_package() -> tuple[str, str]:
    if platform.machine() != "x86_64":
        raise SetupError(f"expected a machine with x86_64 for the guest, got {platform.machine()}")
    for tool in (_APT_GET, _DPKG, _DEPMOD):
        find_tool(tool)
    show = ("apt-cache", "show", "--no-all-versions", META_PACKAGE)
    found = decode_newest(_run(show))
    if found is None:
        # A fresh machine has no lists yet.
        _run(("apt-get", "update", "-q"))
        found = decode_newest(_run(show))
    if found is None:
        raise SetupError(f"{META_PACKAGE}: expected among apt's packages, as Debian for amd64 has it")
    return found


def _fetch(package: str, version: str, folder: Path) -> None:
    """Fetch and unpack a kernel's package, so that the folder is there whole or not at all."""
    for left in folder.parent.glob(f"{_FETCHING}*"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=_FETCHING, dir=folder.parent) as name:
        work, kernel = Path(name), Path(name) / "kernel"
        download = ("apt-get", "download", "-q", f"{package}={version}")
        try:
            _run(download, work)
        except NodeplaneError:
            # Lists older than the mirror name versions that it has no more.
            _run(("apt-get", "update", "-q"))
            _run(download, work)
        _run(("dpkg-deb", "-x", str(next(work.glob("*.deb"))), "unpacked"), work)
        image = next((work / "unpacked/boot").glob("vmlinuz-*"))
        kernel.mkdir(mode=0o755)
        (kernel / "vmlinux").write_bytes(unpack_kernel(image.read_bytes()))
        shutil.move(work / "unpacked/lib", kernel / "lib")
        _run(("depmod", "-b", str(kernel), Kernel(kernel).release))
        kernel.rename(folder)


def _run(command: tuple[str, ...], folder: Path = Path("/")) -> str:
    """Run a command to its end and return its output.

    Raises:
        NodeplaneError: it failed; has its last line.
    """
    # Its words are read here, and apt must not ask anything.
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 and command[0] != "apt-cache":
        last = (done.stderr.strip() or "no word").splitlines()[-1]
        raise NodeplaneError(f"{' '.join(command[:3])} failed: {last}")
    return done.stdout


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    lock = os.open(cache / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
