"""The guest's first file system: busybox, the modules to reach the host's files, and what process 1 does."""

import lzma
import shlex
from pathlib import Path, PurePosixPath

from netns_lab.vm.module_order import decode_dependencies, load_order
from netns_lab.vm.newc import Entry, character_device, directory, regular, render_archive
from nodeplane.errors import SetupError

_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_console")
"""The host's files (9p), memory over them (overlay), and the port to the host (virtio_console)."""

_INIT = Path(__file__).with_name("init.sh")

_DIRECTORIES = ("dev", "host", "modules", "over", "proc", "root")


def build_initramfs(busybox: Path, modules: Path, release: str, settings: dict[str, str]) -> bytes:
    """Return the archive; `modules` is what is /lib/modules in the guest.

    Raises:
        SetupError: a module is packed in a way that is not known here.
        NodeplaneError: the kernel lacks a module.
    """
    folder = modules / release
    order = load_order(decode_dependencies((folder / "modules.dep").read_text()), _MODULES)
    return render_archive(
        [
            *(directory(name) for name in _DIRECTORIES),
            # Linux gives process 1 its streams before anything is mounted.
            character_device("dev/console", 5, 1),
            regular("busybox", busybox.read_bytes(), 0o755),
            regular("init", _INIT.read_bytes(), 0o755),
            regular("settings", render_settings(settings).encode()),
            *_render_modules(folder, order),
        ]
    )


def render_settings(settings: dict[str, str]) -> str:
    """Return assignments for a shell."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items())


def _render_modules(folder: Path, order: list[str]) -> list[Entry]:
    names = [PurePosixPath(file).name.partition(".")[0] + ".ko" for file in order]
    files = [
        regular(f"modules/{name}", _read_module(folder / file))
        for name, file in zip(names, order, strict=True)
    ]
    return [*files, regular("modules/order", "".join(f"{name}\n" for name in names).encode())]


def _read_module(file: Path) -> bytes:
    if file.suffix == ".xz":
        return lzma.decompress(file.read_bytes())
    if file.suffix == ".ko":
        return file.read_bytes()
    raise SetupError(f"{file}: expected a module as it is, or packed with xz")
