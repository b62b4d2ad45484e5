"""The edge that captures for the page: tcpdump on one link, its lines as they come."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncGenerator

from netns_lab.programs import environment
from nodeplane.datapath import netns
from nodeplane.errors import NodeplaneError, SetupError

_PACKETS = 1000
"""So many a capture; who wants more writes a file (`netns-lab capture -w`)."""
_LINE_BYTES = 1 << 16


async def sniff(lab: str, namespace: str, link: str) -> AsyncGenerator[str, None]:
    """Yield a line for each packet that passes a link, from now on, until it is closed or 1,000 have passed.

    Raises:
        SetupError: tcpdump is not installed.
        NodeplaneError: tcpdump refused; carries its message.
    """
    command = ["tcpdump", "-l", "-n", "--immediate-mode", "-c", str(_PACKETS), "-Z", "root", "-i", link]
    # Without a wait inside: the thread that is moved is the event loop's own.
    with netns.inside(netns.NETNS_DIR / namespace):
        try:
            tcpdump = subprocess.Popen(
                command,
                env=environment(lab, f"capture/{link}"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError as exc:
            raise SetupError("tcpdump is missing: install the Debian package tcpdump") from exc
    assert tcpdump.stdout is not None  # noqa: S101 - it is a pipe
    assert tcpdump.stderr is not None  # noqa: S101 - it is a pipe
    loop = asyncio.get_running_loop()
    lines, errors = asyncio.StreamReader(limit=_LINE_BYTES), asyncio.StreamReader(limit=_LINE_BYTES)
    transports = [
        (await loop.connect_read_pipe(lambda reader=reader: asyncio.StreamReaderProtocol(reader), pipe))[0]  # type: ignore[misc]
        for reader, pipe in ((lines, tcpdump.stdout), (errors, tcpdump.stderr))
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
        if tcpdump.poll() is None:
            tcpdump.send_signal(signal.SIGKILL)
        tcpdump.wait()
