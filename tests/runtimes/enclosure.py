"""A place for a container runtime on a lab node: mounts and processes of its own.

Runtimes write to fixed folders (/run/containerd, /run/netns, /var/lib/cni) and leave processes that outlive
them. Inside, /run and /var/lib are empty and in memory, and all processes end with the first one.
"""

import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from nodeplane.datapath import netns
from tests.netns_fixture import PREFIX, eventually

_CGROUPS = Path("/sys/fs/cgroup")
# The first process of the place. `sleep` does not collect the dead, who then stay until the place ends.
_FIRST = "mount -t tmpfs none /run && mount -t tmpfs none /var/lib && mkdir /run/netns && echo ready && "
_FIRST += "exec sleep infinity"


class Enclosure(NamedTuple):
    """The place; `pid` is its first process, `cgroup` the parent that its containers must get."""

    pid: int
    cgroup: str

    def command(self, *words: str, env: Mapping[str, str] | None = None) -> list[str]:
        """Return the command line that runs a command in here, with variables on top of ours."""
        # The agent of this place, which is a node's own.
        given = {"NODEPLANE_CNI_SOCKET": "/run/nodeplane/cni.sock", **(env or {})}
        variables = [f"{name}={value}" for name, value in given.items()]
        return ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "env", *variables, *words]

    def run(self, *words: str, env: Mapping[str, str] | None = None) -> str:
        """Run a command in here, which must succeed; return what it printed."""
        done = subprocess.run(
            self.command(*words, env=env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{words}: {done.stderr}{done.stdout}"
        return done.stdout

    def namespaces(self) -> list[str]:
        """Return the network namespaces that the runtime keeps by name."""
        return self.run("ls", "/run/netns").split()


@contextmanager
def enclosure(node: Path) -> Iterator[Enclosure]:
    """Make a place on a node; everything in it is gone at the end."""
    cgroup = f"{PREFIX}{os.getpid()}-{secrets.token_hex(3)}"
    with netns.inside(node):
        # Private, as is unshare's default: nothing that is mounted inside is seen outside.
        holder = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", _FIRST],
            stdout=subprocess.PIPE,
            text=True,
        )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        first = int(Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text())
        yield Enclosure(first, f"/{cgroup}")
    finally:
        # It ignores SIGTERM; the kernel then kills the first process, and with it all others.
        holder.kill()
        holder.communicate()
        eventually(lambda: _remove_cgroups(cgroup), lambda left: not left)


def _remove_cgroups(name: str) -> list[Path]:
    """Remove the groups that the runtime made below ours in each hierarchy; return those still in use."""
    left = []
    for top in (*_CGROUPS.glob(f"*/{name}"), *_CGROUPS.glob(name)):
        for folder, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                left.append(Path(folder))
    return left
