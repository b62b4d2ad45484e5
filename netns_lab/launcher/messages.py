"""What `up` and the fork server say to one another: one JSON document in each packet."""

import msgspec

from netns_lab.launcher.entry import Entry


class Start(msgspec.Struct, frozen=True, tag=True):
    """Start a program in a namespace; the answer is its process id.

    With two descriptors beside it they are its standard input and output; without, it has no input, and its
    output goes to the log.
    """

    entry: Entry
    command: tuple[str, ...]
    environment: dict[str, str]
    namespace: str
    log: str


class Await(msgspec.Struct, frozen=True, tag=True):
    """Wait for the end of a program; the answer is its exit code."""

    pid: int


Request = Start | Await

PACKET_BYTES = 64 * 1024
