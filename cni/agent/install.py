"""The plugin's programs and its network configuration in the folders where a container runtime looks.

A runtime takes the node as ready for pods when it finds the configuration, so that comes last, and none of
it before the agent is ready. What is right is not written again (a runtime reads its folder anew at each
change); what somebody damages is put back. Nothing is removed when the agent ends: the plugin works without.
"""

import asyncio
import logging
import os
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from inotify_simple import INotify, flags

from cni.agent.conflist import NAME
from nodeplane.errors import KernelError, kernel_error
from nodeplane.file_watch import FileWatch
from nodeplane.inotify import next_names
from nodeplane.kube.backoff import Backoff

_PROGRAM_MODE = 0o755
_CONFIG_MODE = 0o644
# What a runtime takes for a network configuration (containernetworking/cni, libcni.ConfFiles).
_CONFIG_SUFFIXES = frozenset({".conf", ".conflist", ".json"})

_WATCHED = (
    flags.CREATE
    | flags.DELETE
    | flags.MOVED_TO
    | flags.MOVED_FROM
    | flags.CLOSE_WRITE
    | flags.ATTRIB
    | flags.DELETE_SELF
    | flags.MOVE_SELF
)
# Bounds a fight with somebody who undoes what we write.
_MIN_INTERVAL_S = 1.0

log = logging.getLogger(__name__)


class File(msgspec.Struct, frozen=True):
    """A file as it is to be."""

    path: Path
    content: bytes
    mode: int


def build_files(
    bin_dir: Path, conf_dir: Path, programs: dict[str, bytes], conflist: bytes
) -> tuple[File, ...]:
    """Return what is to be installed, in the order of writing."""
    return (
        *(File(bin_dir / name, content, _PROGRAM_MODE) for name, content in sorted(programs.items())),
        File(conf_dir / NAME, conflist, _CONFIG_MODE),
    )


def install(files: Sequence[File]) -> list[Path]:
    """Make files be as they are to be, each in one step; return those that were not.

    Raises:
        KernelError: a folder or a file can't be written.
    """
    return [file.path for file in files if _install_one(file)]


def rivals(conf_dir: Path) -> list[str]:
    """Return the configurations that a runtime takes before ours."""
    names = (path.name for path in conf_dir.iterdir() if path.suffix in _CONFIG_SUFFIXES)
    return sorted(name for name in names if name < NAME)


async def keep_in_step(
    files: Sequence[File], conflist: FileWatch[bytes], on_change: Callable[[bool], None]
) -> None:
    """Keep files installed, and of the network configuration what its source says; see `keep_installed`."""
    while True:
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(keep_installed(files, on_change))
            content = await conflist.until_changed()
            # It ends when nothing is written any more.
            keeping.cancel()
        *programs, former = files
        files = (*programs, msgspec.structs.replace(former, content=content))


async def keep_installed(files: Sequence[File], on_change: Callable[[bool], None]) -> None:
    """Install files and keep them as they are to be; `on_change` is told whether they are.

    What can't be written is tried again.
    """
    loop = asyncio.get_running_loop()
    backoff = Backoff(0.1, 30.0)
    with ThreadPoolExecutor(1, "install") as executor:
        while True:
            try:
                with INotify() as notify:
                    # Watched before it is looked at, so that nothing falls between the two.
                    for folder in {file.path.parent for file in files}:
                        _watch(notify, folder)
                    while True:
                        written = await loop.run_in_executor(executor, install, files)
                        on_change(True)
                        backoff.reset()
                        if written:
                            _log(written, files[-1].path.parent)
                            await asyncio.sleep(_MIN_INTERVAL_S)
                        if not await _until_touched(notify, files):
                            break
            except KernelError as exc:
                on_change(False)
                pause_s = backoff.pause_s()
                log.warning("plugin not installed, trying again error=%r retry_s=%.1f", str(exc), pause_s)
                await asyncio.sleep(pause_s)


async def _until_touched(notify: INotify, files: Sequence[File]) -> bool:
    """Wait until one of the files may have changed; say whether their folders are still watched."""
    ours = {file.path.name for file in files}
    while True:
        names = await next_names(notify)
        if names is None:
            return False
        if names & ours:
            return True


def _watch(notify: INotify, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        notify.add_watch(folder, _WATCHED | flags.ONLYDIR)
    except OSError as exc:
        raise kernel_error(f"make and watch {folder}", exc.errno or 0) from exc


def _install_one(file: File) -> bool:
    if _is_right(file):
        return False
    # No program's and no configuration's name, in case we are killed here.
    draft = file.path.with_name(f".{file.path.name}.draft")
    try:
        descriptor = os.open(
            draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        with open(descriptor, "wb") as stream:
            stream.write(file.content)
            stream.flush()
            os.fchmod(descriptor, file.mode)
            # A file that a power cut leaves empty would keep every pod of the node from starting.
            os.fsync(descriptor)
        draft.rename(file.path)
    except OSError as exc:
        raise kernel_error(f"write {file.path}", exc.errno or 0) from exc
    return True


def _is_right(file: File) -> bool:
    try:
        found = os.lstat(file.path)
        return (
            stat.S_ISREG(found.st_mode)
            and stat.S_IMODE(found.st_mode) == file.mode
            and found.st_size == len(file.content)
            and file.path.read_bytes() == file.content
        )
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise kernel_error(f"read {file.path}", exc.errno or 0) from exc


def _log(written: Sequence[Path], conf_dir: Path) -> None:
    log.info("plugin installed written=%s", ",".join(map(str, written)))
    for name in rivals(conf_dir):
        log.warning("a runtime takes another network configuration before ours file=%s", conf_dir / name)
