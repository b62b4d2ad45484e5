"""Wait for inotify events inside an event loop."""

import asyncio

from inotify_simple import INotify, flags

# The directory is gone, has moved (told to those who watch for it), or the kernel has dropped events.
_ENDED = flags.IGNORED | flags.MOVE_SELF | flags.Q_OVERFLOW


async def next_names(notify: INotify) -> set[str] | None:
    """Wait for events; return the names of the files they speak of, or None when the watch has ended."""
    loop = asyncio.get_running_loop()
    readable = loop.create_future()

    def wake() -> None:
        if not readable.done():
            readable.set_result(None)

    loop.add_reader(notify.fileno(), wake)
    try:
        await readable
    finally:
        loop.remove_reader(notify.fileno())
    events = notify.read(timeout=0)
    if any(event.mask & _ENDED for event in events):
        return None
    return {event.name for event in events}
