"""The edge that captures for the page: tcpdump on one link, its lines as they come."""

import asyncio
from collections.abc import AsyncGenerator

from netns_lab.programs import environment
from netns_lab.tcpdump import start_tcpdump
from nodeplane.errors import NodeplaneError

_PACKETS = 1000
"""So many a capture; who wants more writes a file (`netns-lab capture -w`)."""
_LINE_BYTES = 1 << 16


async def sniff(lab: str, namespace: str, link: str) -> AsyncGenerator[str, None]:
    """Yield a line for each packet that passes a link, from now on, until it is closed or 1,000 have passed.

    Raises:
        SetupError: tcpdump is not installed.
        NodeplaneError: tcpdump refused; carries its message.
    """
    # Without a wait inside: the thread that is moved is the event loop's own.
    tcpdump = start_tcpdump(namespace, link, environment(lab, f"capture/{link}"), "-l", "-c", str(_PACKETS))
    loop = asyncio.get_running_loop()
    lines, errors = asyncio.StreamReader(limit=_LINE_BYTES), asyncio.StreamReader(limit=_LINE_BYTES)
    transports = [
        (await loop.connect_read_pipe(lambda reader=reader: asyncio.StreamReaderProtocol(reader), pipe))[0]  # type: ignore[misc]
        for reader, pipe in ((lines, tcpdump.output), (errors, tcpdump.errors))
    ]
    try:
        said = ""
        while (
            line := (await errors.readline()).decode(errors="replace").strip()
        ) and "listening on" not in line:
            said = line
        if not line:
            raise NodeplaneError(f"capture on {link}: {said or 'tcpdump ended'}")
        yield line
        while packet := await lines.readline():
            yield packet.decode(errors="replace").rstrip()
    finally:
        for transport in transports:
            transport.close()
        if tcpdump.process.poll() is None:
            tcpdump.process.kill()
        tcpdump.process.wait()
