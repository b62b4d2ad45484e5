"""What `kubectl get` shows of each kind."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from netns_lab.apiserver.resources import (
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    SERVICE_CIDRS,
    SERVICES,
    Resource,
)
from netns_lab.apiserver.tables import build_table
from netns_lab.apiserver.wire import build_item

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
CREATED = "2026-11-21T11:55:00Z"


@pytest.mark.parametrize(
    ("resource", "value", "cells"),
    [
        pytest.param(
            SERVICES,
            {
                "spec": {
                    "type": "LoadBalancer",
                    "clusterIP": "10.96.0.9",
                    "selector": {"b": "2", "a": "1"},
                    "ports": [
                        {"port": 80, "nodePort": 30080, "protocol": "TCP"},
                        {"port": 53, "protocol": "UDP"},
                    ],
                },
                "status": {"loadBalancer": {}},
            },
            ["x", "LoadBalancer", "10.96.0.9", "<pending>", "80:30080/TCP,53/UDP", "5m", "a=1,b=2"],
            id="load balancer",
        ),
        pytest.param(
            SERVICE_CIDRS,
            {"spec": {"cidrs": ["10.96.0.0/16", "fd00::/112"]}},
            ["x", "10.96.0.0/16,fd00::/112", "5m"],
            id="service cidr",
        ),
        pytest.param(
            SERVICES,
            {"spec": {"type": "ExternalName", "externalName": "example.org"}},
            ["x", "ExternalName", "<none>", "example.org", "<none>", "5m", "<none>"],
            id="external name",
        ),
        pytest.param(
            PODS,
            {
                "spec": {"containers": [{"name": "a"}, {"name": "b"}], "nodeName": "n1"},
                "status": {
                    "phase": "Running",
                    "podIP": "10.244.0.5",
                    "containerStatuses": [
                        {"ready": True, "restartCount": 2},
                        {"ready": False, "restartCount": 1},
                    ],
                },
            },
            ["x", "1/2", "Running", "3", "5m", "10.244.0.5", "n1", "<none>", "<none>"],
            id="pod",
        ),
        pytest.param(
            PODS,
            {"metadata": {"deletionTimestamp": CREATED}, "spec": {"containers": [{"name": "a"}]}},
            ["x", "0/1", "Terminating", "0", "5m", "<none>", "<none>", "<none>", "<none>"],
            id="pod on its way out",
        ),
        pytest.param(
            NODES,
            {
                "metadata": {"labels": {"node-role.kubernetes.io/worker": ""}},
                "spec": {"unschedulable": True},
                "status": {
                    "conditions": [{"type": "Ready", "status": "Unknown"}],
                    "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
                    "nodeInfo": {"kubeletVersion": "v1.36.2"},
                },
            },
            [
                *("x", "NotReady,SchedulingDisabled", "worker", "5m", "v1.36.2", "192.0.2.1", "<none>"),
                *("<unknown>", "<unknown>", "<unknown>"),
            ],
            id="node",
        ),
        pytest.param(NAMESPACES, {"status": {"phase": "Active"}}, ["x", "Active", "5m"], id="namespace"),
        pytest.param(
            ENDPOINT_SLICES,
            {
                "addressType": "IPv4",
                "ports": [{"port": 80}],
                "endpoints": [{"addresses": [f"10.0.0.{number}"]} for number in range(5)],
            },
            ["x", "IPv4", "80", "10.0.0.0,10.0.0.1,10.0.0.2 + 2 more...", "5m"],
            id="slice",
        ),
        pytest.param(
            ENDPOINTS,
            {
                "subsets": [
                    {
                        "addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
                        "ports": [{"port": 80}, {"port": 81}],
                    },
                    {"notReadyAddresses": [{"ip": "10.0.0.2"}], "ports": [{"port": 80}]},
                ]
            },
            ["x", "10.0.0.1:80,[fd00::1]:80,10.0.0.1:81 + 1 more...", "5m"],
            id="endpoints",
        ),
        pytest.param(
            ENDPOINTS,
            {"subsets": [{"addresses": [{"ip": "10.0.0.1"}]}]},
            ["x", "10.0.0.1", "5m"],
            id="no port",
        ),
        pytest.param(LEASES, {"spec": {"holderIdentity": "n1"}}, ["x", "n1", "5m"], id="lease"),
        pytest.param(CONFIG_MAPS, {"data": {"a": "1", "b": "2"}}, ["x", "2", "5m"], id="config map"),
        pytest.param(
            EVENTS,
            {
                "involvedObject": {"kind": "Pod", "name": "p"},
                "type": "Normal",
                "reason": "Started",
                "message": "it runs\n",
                "lastTimestamp": CREATED,
                "source": {"component": "kubelet", "host": "n1"},
            },
            ["5m", "Normal", "Started", "pod/p", "it runs", "", "kubelet, n1", "<unknown>", "1", "x"],
            id="event",
        ),
    ],
)
def test_row(resource: Resource, value: Any, cells: list[str]) -> None:
    metadata = {"name": "x", "creationTimestamp": CREATED, **value.get("metadata", {})}
    rest = {name: part for name, part in value.items() if name != "metadata"}
    item = build_item("", "x", 7, msgspec.json.encode({"metadata": metadata, **rest}))
    table = build_table(resource, [item], {"resourceVersion": "7"}, now=NOW)

    assert [row["cells"] for row in table["rows"]] == [cells]
    assert len(table["columnDefinitions"]) == len(cells)
