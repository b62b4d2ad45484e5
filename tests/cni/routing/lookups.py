"""Asks a node for the way to some addresses all the time, as its packets do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from nodeplane.datapath.rtnl import Address, open_rtnl
from nodeplane.errors import KernelError

_LINKS = frozenset({"eth0", "np-vxlan4", "np-vxlan6"})


@contextmanager
def lookups(node: Path, addresses: tuple[Address, ...]) -> Iterator[Callable[[], list[str]]]:
    """Ask until the block ends; yield what ends it sooner and returns each time that there was no way."""
    lost: list[str] = []
    is_over = Event()

    def ask() -> None:
        with open_rtnl(node) as rtnl:
            while not is_over.is_set():
                for address in addresses:
                    try:
                        link = rtnl.egress_link(address).name
                    except KernelError as exc:
                        lost.append(str(exc))
                    else:
                        if link not in _LINKS:
                            lost.append(f"{address} by {link}")

    def end() -> list[str]:
        is_over.set()
        thread.join()
        return lost

    thread = Thread(target=ask)
    thread.start()
    try:
        yield end
    finally:
        end()
