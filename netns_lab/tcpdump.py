"""A tcpdump on a link of a lab, which ends with whoever has started it, however that ends.

Its reader's end alone would not do: on a quiet link it writes nothing, and does not hear that nobody reads.
"""

import subprocess
from collections.abc import Mapping
from typing import IO, NamedTuple

from netns_lab.tools import Tool, find_tool
from nodeplane.datapath import netns
from nodeplane.errors import NodeplaneError

_TCPDUMP = Tool("tcpdump", "tcpdump")
# prctl(2), PR_SET_PDEATHSIG, on the way to it.
_SETPRIV = Tool("setpriv", "util-linux")

# Numbers for names, each packet at once, and root kept: Debian's gives it up before it opens a file.
_ALWAYS = ("-n", "-U", "--immediate-mode", "-Z", "root")


class Tcpdump(NamedTuple):
    """One that runs: what it writes to stdout, and what it says."""

    process: "subprocess.Popen[bytes]"
    output: IO[bytes]
    errors: IO[bytes]


def start_tcpdump(namespace: str, link: str, environment: Mapping[str, str], *options: str) -> Tcpdump:
    """Start one, to be ended by the caller.

    Raises:
        SetupError: it is not installed.
    """
    program, keeper = (str(find_tool(tool)) for tool in (_TCPDUMP, _SETPRIV))
    with netns.inside(netns.NETNS_DIR / namespace):
        process = subprocess.Popen(
            [keeper, "--pdeathsig", "KILL", "--", program, *_ALWAYS, "-i", link, *options],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    if process.stdout is None or process.stderr is None:
        raise NodeplaneError("tcpdump: expected pipes from it")
    return Tcpdump(process, process.stdout, process.stderr)


def await_listening(tcpdump: Tcpdump, link: str) -> None:
    """Wait for the line that tcpdump writes once the kernel keeps packets for it.

    Raises:
        NodeplaneError: it has ended; carries its message.
    """
    said = []
    for line in tcpdump.errors:
        said.append(line.decode(errors="replace").strip())
        if "listening on" in said[-1]:
            return
    raise NodeplaneError(f"capture on {link}: {said[-1] if said else 'tcpdump ended'}")
