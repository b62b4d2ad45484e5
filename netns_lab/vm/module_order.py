"""Which kernel modules must be loaded before others, read from what depmod writes (modules.dep(5))."""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from nodeplane.errors import NodeplaneError


def decode_dependencies(text: str) -> dict[str, tuple[str, ...]]:
    """Return each module file with those that it needs, as modules.dep(5) lists them."""
    lines = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {module.strip(): tuple(needs.split()) for module, _, needs in lines}


def load_order(dependencies: Mapping[str, tuple[str, ...]], names: Iterable[str]) -> list[str]:
    """Return the files of the modules of these names and of all that they need, each after its needs.

    Raises:
        NodeplaneError: there is no module of a name.
    """
    files = {_module_name(file): file for file in dependencies}
    ordered: dict[str, None] = {}
    for name in names:
        file = files.get(name)
        if file is None:
            raise NodeplaneError(f"{name}: expected among the modules of the guest's kernel")
        # modules.dep names the needs of the needs too, what has to be loaded first last.
        ordered.update(dict.fromkeys((*reversed(dependencies[file]), file)))
    return list(ordered)


def _module_name(file: str) -> str:
    # net/9p/9pnet_virtio.ko, or with the ending of a compressed one; '-' and '_' are the same to the kernel.
    return PurePosixPath(file).name.partition(".")[0].replace("-", "_")
