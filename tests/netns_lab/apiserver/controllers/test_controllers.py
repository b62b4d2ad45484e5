"""The controllers in a server: what a client sees of them."""

from pathlib import Path
from typing import Any

from netns_lab.apiserver.controllers.run import ControllerSettings
from tests.netns_lab.apiserver.running import SHOP, SLICES, Client, eventually, namespace, run, service

NOTHING: list[str] = []
FAST = ControllerSettings(node_grace_s=0.3, node_check_interval_s=0.05)
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


async def add_pod(client: Client, number: int, *, ready: bool = True, node: str = "n1") -> None:
    name = f"web-{number}"
    spec = {"nodeName": node, "containers": [{"name": "c", "image": "i:1"}]}
    await client.post(f"{SHOP}/pods", {"metadata": {"name": name, "labels": {"app": "web"}}, "spec": spec})
    conditions = [{"type": "Ready", "status": str(ready)}]
    status = {"phase": "Running", "podIP": f"10.244.0.{number}", "conditions": conditions}
    await client.patch(f"{SHOP}/pods/{name}/status", {"status": status})


def ready_addresses(slices: list[Any]) -> list[str]:
    return sorted(
        address
        for piece in slices
        for endpoint in piece["endpoints"] or ()
        for address in endpoint["addresses"]
        if endpoint["conditions"]["ready"]
    )


def test_endpoints_follow_pods_services_and_nodes(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        await client.post("/api/v1/namespaces", namespace())
        await client.post("/api/v1/nodes", {"metadata": {"name": "n1"}})
        await client.post(f"{SHOP}/services", service("web", selector={"app": "web"}))
        await eventually(client, SLICES, lambda items: [item["endpoints"] for item in items], [[]])
        await add_pod(client, 1)
        await add_pod(client, 2)
        await eventually(client, SLICES, ready_addresses, ["10.244.0.1", "10.244.0.2"])
        await client.request("DELETE", f"{SHOP}/pods/web-1", {"gracePeriodSeconds": 0})
        await eventually(client, SLICES, ready_addresses, ["10.244.0.2"])
        lost = {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
        await client.patch("/api/v1/nodes/n1/status", lost)
        await eventually(client, SLICES, ready_addresses, NOTHING)
        back = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        await client.patch("/api/v1/nodes/n1/status", back)
        await eventually(client, SLICES, ready_addresses, ["10.244.0.2"])
        await client.patch(f"{SHOP}/services/web", {"spec": {"selector": {"app": "other"}}})
        await eventually(client, SLICES, ready_addresses, NOTHING)
        await client.request("DELETE", f"{SHOP}/services/web")
        await eventually(client, SLICES, len, 0)

    run(scenario, tmp_path, controllers=ControllerSettings())


def test_slices_of_others_are_left_alone_and_damage_is_repaired(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        await client.post("/api/v1/namespaces", namespace())
        mine: Any = {
            "metadata": {"name": "mine"},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.9.9.9"]}],
        }
        mine["metadata"]["labels"] = {"kubernetes.io/service-name": "web"}
        await client.post(SLICES, mine)
        await client.post(f"{SHOP}/services", service("web", selector={"app": "web"}))
        await add_pod(client, 1)
        ours = "?labelSelector=endpointslice.kubernetes.io/managed-by"
        # The slice of a Service without pods has no ports: it goes only after the one with ports has come.
        await eventually(
            client,
            SLICES + ours,
            lambda slices: [ready_addresses([piece]) for piece in slices],
            [["10.244.0.1"]],
        )
        (piece,) = (await client.get(SLICES + ours))["items"]
        await client.patch(f"{SLICES}/{piece['metadata']['name']}", {"endpoints": []})
        await eventually(client, SLICES + ours, ready_addresses, ["10.244.0.1"])
        assert (await client.get(f"{SLICES}/mine"))["endpoints"] == [{"addresses": ["10.9.9.9"]}]

    run(scenario, tmp_path, controllers=ControllerSettings())


def test_a_node_gets_a_range_and_lives_by_its_lease(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        def ready(nodes: list[Any]) -> list[str]:
            return [
                condition["status"]
                for node in nodes
                for condition in node["status"].get("conditions", ())
                if condition["type"] == "Ready"
            ]

        await client.post("/api/v1/nodes", {"metadata": {"name": "n1"}})
        await eventually(
            client,
            "/api/v1/nodes",
            lambda nodes: [node["spec"].get("podCIDRs") for node in nodes],
            [["10.244.0.0/24"]],
        )
        lease = {"metadata": {"name": "n1"}, "spec": {"renewTime": "2026-11-21T00:00:00.000000Z"}}
        await client.post(LEASES, lease)
        await eventually(client, "/api/v1/nodes", ready, ["Unknown"])
        await client.patch(f"{LEASES}/n1", {"spec": {"renewTime": "2026-11-21T00:00:01.000000Z"}})
        await eventually(client, "/api/v1/nodes", ready, ["True"])

    run(scenario, tmp_path, controllers=FAST)


def test_a_pod_ends_when_its_grace_period_is_over(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        await client.post("/api/v1/namespaces", namespace())
        await client.post(f"{SHOP}/services", service("web", selector={"app": "web"}))
        await add_pod(client, 1)
        await eventually(client, SLICES, ready_addresses, ["10.244.0.1"])
        await client.request("DELETE", f"{SHOP}/pods/web-1", {"gracePeriodSeconds": 1})
        await eventually(client, SLICES, ready_addresses, NOTHING)
        await eventually(client, f"{SHOP}/pods", len, 0)

    run(scenario, tmp_path, controllers=ControllerSettings())
