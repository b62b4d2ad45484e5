"""Says to an API server that is not the lab's that the lab's nodes are alive: no kubelet does.

There a Node whose Ready condition gets no newer heartbeat is Unknown after 40 s, and its pods are no
endpoints any more (kube-controller-manager, --node-monitor-grace-period). The lab's own server takes nodes
at their word.
"""

import asyncio
import logging
import sys
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from netns_lab.cluster import READY
from nodeplane.errors import NodeplaneError
from nodeplane.kube.connection import Connection
from nodeplane.kube.objects import Node, ObjectKey
from nodeplane.kube.session import RefusedError
from nodeplane.kube.writer import Json, Writer
from nodeplane.runtime.daemon import run_daemon
from nodeplane.runtime.log import setup_logging
from nodeplane.runtime.sd_notify import notify

# A manager of its own: what `up` writes says nothing of time, and must not take it away.
_MANAGER = "netns-lab-heartbeat"

# The kubelet's own (nodeStatusUpdateFrequency).
_INTERVAL_S = 10.0

log = logging.getLogger(__name__)


def build_heartbeat(node: str, now: datetime) -> Json:
    """Return the status of a node that is alive now."""
    condition = {**READY, "lastHeartbeatTime": now.strftime("%Y-%m-%dT%H:%M:%SZ")}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node},
        "status": {"conditions": [condition]},
    }


async def beat(connection: Connection, nodes: Collection[str]) -> None:
    """Say it again and again; a server that is away may come back."""
    while True:
        try:
            async with await connection.open() as client:
                await _beat_once(Writer(client, _MANAGER), nodes)
        except NodeplaneError as exc:
            log.warning("heartbeat failed error=%r", str(exc))
        notify("READY=1")
        await asyncio.sleep(_INTERVAL_S)


async def _beat_once(writer: Writer, nodes: Collection[str]) -> None:
    for node in nodes:
        try:
            await writer.apply(ObjectKey(Node, "", node), build_heartbeat(node, datetime.now(UTC)), "status")
        except RefusedError as exc:
            # Deleted by a person: the others are alive all the same, and `up` brings this one back.
            log.warning("heartbeat refused error=%r", str(exc))


def main(arguments: list[str]) -> None:
    """Take KUBECONFIG NODE…; run until SIGTERM."""
    setup_logging("text", 0)
    run_daemon(beat(Connection.from_kubeconfig(Path(arguments[0]), is_direct=True), arguments[1:]))


if __name__ == "__main__":
    main(sys.argv[1:])
