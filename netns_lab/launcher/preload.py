"""What a fork server has imported and done before it forks, so that its forks share it.

A fork shares each page of memory until one side writes to it, and Python writes to an object, its count of
references, when it is used. So what many forks use should be little, beside other things of theirs, and done
once before: the first time Python also writes down what it has found out about code and classes (PEP 659).
"""

import gc
import socket
from contextlib import closing, suppress
from importlib import import_module
from pathlib import Path
from typing import Literal

from nodeplane.datapath import netns

Kind = Literal["programs", "workloads"]
"""The nodes' programs, of which each is large; or pods' workloads: tiny, and thousands."""

_REHEARSAL_S = 0.1

# What is imported on the way to being ready. A name that is not there costs time and nothing else, so a test
# holds the lists to what is imported then.
PRELOADED: dict[Kind, tuple[str, ...]] = {
    "programs": (
        *("kubeproxy.cli", "kubeproxy.program"),
        *("cni.agent.cli", "cni.agent.daemon", "cni.agent.config", "cni.agent.node_condition", "cni.plugin"),
        *("ipam.stores.sqlite_watch", "coredns_lite.cli", "netns_lab.workload"),
        *("nodeplane.kube.apiserver", "nodeplane.kube.connection", "nodeplane.kube.event_writer"),
        *("nodeplane.kube.open_source", "nodeplane.kube.writer", "nodeplane.runtime.daemon"),
        *("nodeplane.datapath.local_addresses", "nodeplane.datapath.rtnl.kernel"),
        *("nodeplane.datapath.rtnl.monitor", "nodeplane.datapath.shaping_kernel"),
        # What the HTTP client imports with its first request, and a socket with its first host name.
        *("anyio._backends._asyncio", "encodings.idna"),
    ),
    "workloads": ("netns_lab.workload",),
}


def preload(kind: Kind) -> None:
    """Import what the forks share, and keep it out of the way of the collector, which would unshare it."""
    for name in PRELOADED[kind]:
        with suppress(ImportError):
            import_module(name)
    if kind == "workloads":
        _rehearse()
    gc.collect()
    gc.freeze()


def _rehearse() -> None:
    """Do once, where we are, what each workload does first."""
    from netns_lab.workload import EchoServer

    netns.enter(Path("/proc/thread-self/ns/net"))
    # A machine whose loopback is down has workloads that take a little more.
    with suppress(OSError), closing(EchoServer({"pod": ""}, [("TCP", 0), ("UDP", 0)], "127.0.0.1")) as server:
        with closing(socket.create_connection(server.addresses[0], timeout=_REHEARSAL_S)) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            server.serve_once(_REHEARSAL_S)  # accepts
            server.serve_once(_REHEARSAL_S)  # answers
        server.serve_once(_REHEARSAL_S)
