"""Which of bird's routes others have deleted: by the kernel's word, which bird itself does not listen for.

bird looks each second, and at once when its kernel protocol is reloaded (sysdep/unix/krt.c,
krt_reload_routes). What it deletes itself comes by the netlink port that it adds its routes by.
"""

from nodeplane.datapath.rtnl.monitor import Event, Overrun, RouteEvent

# /etc/iproute2/rt_protos: BIRD's.
_BIRD = 12
_EVERYTHING = frozenset({4, 6})


class WipedRoutes:
    """Tells the deletions of others from bird's own."""

    def __init__(self) -> None:
        self._bird_port: int | None = None

    def find(self, event: Event) -> frozenset[int]:
        """Return the families of IP whose routes bird is to look at."""
        match event:
            case Overrun():
                return _EVERYTHING
            case RouteEvent(protocol=protocol) if protocol == _BIRD:
                if not event.is_deleted:
                    self._bird_port = event.port
                elif event.port != self._bird_port:
                    return frozenset({event.destination.version})
        return frozenset()
