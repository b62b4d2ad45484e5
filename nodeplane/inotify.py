"""Wait for inotify events inside an event loop."""

import asyncio
from contextlib import suppress

from inotify_simple import Event, INotify, flags

# The directory is gone, has moved (told to those who watch for it), or the kernel has dropped events.
_ENDED = flags.IGNORED | flags.DELETE_SELF | flags.MOVE_SELF | flags.Q_OVERFLOW


async def next_names(notify: INotify) -> set[str] | None:
    """Wait for events of one directory; return the names they speak of, or None when the watch has ended."""
    events = await next_events(notify)
    return None if any(event.mask & _ENDED for event in events) else {event.name for event in events}


async def next_events(notify: INotify, until_s: float | None = None) -> list[Event]:
    """Wait for events and return all that wait.

    `until_s` is the time of the event loop's clock to wait for at most; what has happened by then is
    returned, also if that time is long past, and nothing has happened if it is empty.
    """
    loop = asyncio.get_running_loop()
    readable = loop.create_future()

    def wake() -> None:
        if not readable.done():
            readable.set_result(None)

    loop.add_reader(notify.fileno(), wake)
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until_s):
                await readable
    finally:
        loop.remove_reader(notify.fileno())
    return list(notify.read(timeout=0))
