"""The Node's condition NetworkUnavailable: False once this node has its routes and its plugin.

A cloud's node controller sets it to True for a new node, and the scheduler gives the node no pods until a
network says otherwise (k8s.io/api/core/v1, NodeNetworkUnavailable). It is not set back when the agent ends:
routes and plugin work without it.
"""

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nodeplane.errors import ApiError
from nodeplane.kube.objects import Node, ObjectKey
from nodeplane.kube.source import Batch
from nodeplane.reconcile.runner import Runner

if TYPE_CHECKING:
    from nodeplane.kube.connection import Connection
    from nodeplane.kube.writer import Json

_MANAGER = "cni-agent"
_TYPE = "NetworkUnavailable"
_STATED = {
    "type": _TYPE,
    "status": "False",
    "reason": "NodeplaneIsUp",
    "message": "cni-agent has this node's routes in force",
}
# Somebody else may set it, and nobody tells us: the agent watches nodes' addresses, not their conditions.
_RECHECK_S = 600.0
_MAX_RETRY_S = 60.0

log = logging.getLogger(__name__)


def build_condition(node: "Json", now: datetime) -> "Json | None":
    """Return the condition that a Node is to get; None if it has it."""
    conditions: list[dict[str, Any]] = node.get("status", {}).get("conditions") or []
    found: dict[str, Any] = next((each for each in conditions if each.get("type") == _TYPE), {})
    if {key: found.get(key) for key in _STATED} == _STATED:
        return None
    time = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    is_same = found.get("status") == _STATED["status"] and "lastTransitionTime" in found
    since = found["lastTransitionTime"] if is_same else time
    return {**_STATED, "lastHeartbeatTime": time, "lastTransitionTime": since}


class NodeCondition:
    """Keeps the condition of one Node; begins with `begin`."""

    def __init__(self, connection: "Connection", node_name: str) -> None:
        self.runner = Runner(
            self._sync,
            min_interval_s=1.0,
            resync_interval_s=_RECHECK_S,
            first_retry_s=1.0,
            max_retry_s=_MAX_RETRY_S,
        )
        self._connection = connection
        self._key = ObjectKey(Node, "", node_name)
        self._has_begun = False

    def begin(self) -> None:
        """Set the condition, now that it is true."""
        self._has_begun = True
        self.runner.trigger()

    def take_nodes(self, batch: Batch) -> None:
        """Look again when the Node is made: a new one has not got the condition."""
        is_made = any(change.key == self._key and change.old is None for change in batch)
        if is_made and self._has_begun:
            self.runner.trigger()

    async def _sync(self, _full: bool) -> None:
        from nodeplane.kube.writer import Writer

        async with await self._connection.open() as client:
            writer = Writer(client, _MANAGER)
            node = await writer.get(self._key)
            if node is None:
                raise ApiError(f"set {_TYPE}: {self._key} is not there")
            condition = build_condition(node, datetime.now(UTC))
            if condition is None:
                return
            await writer.apply(self._key, _status(self._key.name, condition), "status")
        log.info("node condition set type=%s status=%s", _TYPE, _STATED["status"])


def _status(name: str, condition: "Json") -> "Json":
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "status": {"conditions": [condition]},
    }
