"""Create, read, update, patch, delete over HTTP (recordings of 1.36)."""

from pathlib import Path
from typing import Any

import pytest

from tests.netns_lab.apiserver.running import (
    SHOP,
    Client,
    config_map,
    eventually,
    namespace,
    run,
    service,
)


def without_varying(value: Any) -> Any:
    """Drop what differs from run to run."""
    varying = ("uid", "creationTimestamp", "resourceVersion")
    return {**value, "metadata": {k: v for k, v in value["metadata"].items() if k not in varying}}


def test_a_service_gets_what_the_real_one_gives_it(tmp_path: Path) -> None:
    """The recording's headless Service, field by field."""

    async def scenario(client: Client) -> Any:
        await client.post("/api/v1/namespaces", namespace())
        spec = {"clusterIP": "None", "ports": [{"name": "pg", "port": 5432}], "selector": {"app": "db"}}
        return await client.post(f"{SHOP}/services", {"metadata": {"name": "db"}, "spec": spec})

    created = run(scenario, tmp_path)

    assert without_varying(created) == {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": "db", "namespace": "shop"},
        "spec": {
            "ports": [{"name": "pg", "protocol": "TCP", "port": 5432, "targetPort": 5432}],
            "selector": {"app": "db"},
            "clusterIP": "None",
            "clusterIPs": ["None"],
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
        },
        "status": {"loadBalancer": {}},
    }


def test_a_cluster_begins_with_its_own_objects(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        namespaces = await client.get("/api/v1/namespaces")
        kubernetes = await client.get("/api/v1/namespaces/default/services/kubernetes")

        assert [item["metadata"]["name"] for item in namespaces["items"]] == [
            "default",
            "kube-node-lease",
            "kube-public",
            "kube-system",
        ]
        assert kubernetes["spec"]["clusterIP"] == "10.96.0.1"

    run(scenario, tmp_path)


def test_names_are_made_up(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        body = {"metadata": {"generateName": "web-"}}
        path = "/api/v1/namespaces/default/configmaps"
        names = [(await client.post(path, body))["metadata"]["name"] for _ in range(3)]

        assert len(set(names)) == 3
        assert all(name.startswith("web-") and len(name) == 9 for name in names)

    run(scenario, tmp_path)


def test_an_update_keeps_what_is_the_servers(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        path = "/api/v1/namespaces/default/pods"
        containers = [{"name": "c", "image": "i:1"}]
        pod = await client.post(path, {"metadata": {"name": "p"}, "spec": {"containers": containers}})
        running = {**pod, "status": {**pod["status"], "phase": "Running"}}
        unchanged = await client.request("PUT", f"{path}/p", running)
        with_status = await client.request("PUT", f"{path}/p/status", running)
        changed = {**with_status, "metadata": {**with_status["metadata"], "uid": "", "labels": {"a": "b"}}}
        changed["spec"] = {**pod["spec"], "containers": [{**pod["spec"]["containers"][0], "image": "i:2"}]}
        with_image = await client.request("PUT", f"{path}/p", changed)

        assert unchanged == pod
        assert with_status["status"]["phase"] == "Running"
        assert with_status["metadata"]["generation"] == 1
        assert with_image["metadata"]["generation"] == 2
        assert with_image["metadata"]["uid"] == pod["metadata"]["uid"]
        assert with_image["status"]["phase"] == "Running"
        versions = [int(version["metadata"]["resourceVersion"]) for version in (pod, with_status, with_image)]
        assert versions == sorted(set(versions))

    run(scenario, tmp_path)


@pytest.mark.parametrize(
    ("kind", "patch", "expected"),
    [
        pytest.param("merge-patch+json", {"data": {"a": None, "c": "3"}}, {"b": "2", "c": "3"}, id="merge"),
        pytest.param("strategic-merge-patch+json", {"data": {"a": None}}, {"b": "2"}, id="strategic merge"),
        pytest.param(
            "json-patch+json",
            [
                {"op": "test", "path": "/data/a", "value": "1"},
                {"op": "replace", "path": "/data/a", "value": "9"},
            ],
            {"a": "9", "b": "2"},
            id="json patch",
        ),
    ],
)
def test_each_kind_of_patch_does_what_it_says(tmp_path: Path, kind: str, patch: Any, expected: Any) -> None:
    async def scenario(client: Client) -> Any:
        path = "/api/v1/namespaces/default/configmaps"
        await client.post(path, config_map("x", a="1", b="2"))
        await client.patch(f"{path}/x", patch, kind=kind)
        return (await client.get(f"{path}/x"))["data"]

    assert run(scenario, tmp_path) == expected


def test_who_applies_owns_fields_and_conflicts_with_others(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        path = "/api/v1/namespaces/default/configmaps/x"

        async def apply(manager: str, data: Any, *, force: bool = False, code: int | None = None) -> Any:
            url = f"{path}?fieldManager={manager}&force={str(force).lower()}"
            return await client.patch(url, {"data": data}, kind="apply-patch+yaml", code=code)

        first = await apply("one", {"a": "1", "b": "1"}, code=201)
        again = await apply("one", {"a": "1", "b": "1"})
        await apply("two", {"c": "1"})
        refused = await apply("two", {"a": "2"}, code=409)
        forced = await apply("two", {"a": "2"}, force=True)
        left = await apply("one", {})

        assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        assert refused["message"] == 'Apply failed with 1 conflict: conflict with "one": .data.a'
        assert refused["details"]["causes"][0]["reason"] == "FieldManagerConflict"
        assert forced["data"] == {"a": "2", "b": "1"}
        assert left["data"] == {"a": "2"}

    run(scenario, tmp_path)


def test_deletion_with_finalizers_grace_and_namespaces(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        await client.post("/api/v1/namespaces", namespace())
        held = config_map("held")
        held["metadata"]["finalizers"] = ["x.io/hold"]
        await client.post(f"{SHOP}/configmaps", held)
        marked = await client.request("DELETE", f"{SHOP}/configmaps/held")
        assert "deletionTimestamp" in marked["metadata"]
        await client.patch(f"{SHOP}/configmaps/held", {"metadata": {"finalizers": None}})
        await client.get(f"{SHOP}/configmaps/held", code=404)

        spec = {"containers": [{"name": "c", "image": "i"}], "nodeName": "n1"}
        await client.post(f"{SHOP}/pods", {"metadata": {"name": "p"}, "spec": spec})
        going = await client.request("DELETE", f"{SHOP}/pods/p")
        assert going["metadata"]["deletionGracePeriodSeconds"] == 30
        gone = await client.request("DELETE", f"{SHOP}/pods/p", {"gracePeriodSeconds": 0})
        assert gone["status"] == "Success"

        await client.post(f"{SHOP}/services", service("web"))
        wrong = {"preconditions": {"uid": "another"}}
        await client.request("DELETE", f"{SHOP}/services/web", wrong, code=409)
        await client.request("DELETE", "/api/v1/namespaces/shop")
        assert (await client.get("/api/v1/services?labelSelector=!component"))["items"] == []

    run(scenario, tmp_path)


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        path = "/api/v1/namespaces/default/services"
        shown = await client.post(f"{path}?dryRun=All", service("web"))
        assert shown["spec"]["clusterIP"]
        await client.get(f"{path}/web", code=404)
        await client.post(path, service("web"))
        await client.patch(f"{path}/web?dryRun=All", {"metadata": {"labels": {"a": "b"}}})
        await client.request("DELETE", f"{path}/web?dryRun=All")
        assert "labels" not in (await client.get(f"{path}/web"))["metadata"]

    run(scenario, tmp_path)


def test_a_collection_is_deleted_by_selector(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        path = "/api/v1/namespaces/default/configmaps"
        for name, label in (("a", "x"), ("b", "y"), ("c", "x")):
            await client.post(path, config_map(name, {"l": label}))
        await client.request("DELETE", f"{path}?labelSelector=l%3Dx")
        assert [item["metadata"]["name"] for item in (await client.get(path))["items"]] == ["b"]

    run(scenario, tmp_path)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        pytest.param("/api/v1/namespaces/default/services", ["kubernetes"], id="service"),
        pytest.param("/apis/networking.k8s.io/v1/servicecidrs", ["kubernetes"], id="service cidr"),
        pytest.param("/api/v1/namespaces", ["kube-node-lease"], id="namespace"),
    ],
)
def test_what_a_cluster_begins_with_is_put_back(tmp_path: Path, path: str, names: list[str]) -> None:
    async def scenario(client: Client) -> None:
        before = await client.get(f"{path}/{names[0]}")
        await client.request("DELETE", f"{path}/{names[0]}")

        def found(items: Any) -> bool:
            return any(
                item["metadata"]["name"] == names[0] and item["metadata"]["uid"] != before["metadata"]["uid"]
                for item in items
            )

        await eventually(client, path, found, True)
        assert (await client.get(f"{path}/{names[0]}"))["spec"] == before["spec"]

    run(scenario, tmp_path)


def test_the_ports_of_the_servers_own_service_stay(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        path = "/api/v1/namespaces/default/services"
        ports = (await client.get(f"{path}/kubernetes"))["spec"]["ports"]
        other = {"spec": {"ports": [{"port": 80}]}}
        assert (await client.patch(f"{path}/kubernetes", other))["spec"]["ports"] != ports
        await eventually(client, path, lambda items: items[0]["spec"]["ports"], ports)
        await client.request("DELETE", "/api/v1/namespaces/kube-system", code=403)

    run(scenario, tmp_path)


def test_service_cidrs(tmp_path: Path) -> None:
    async def scenario(client: Client) -> Any:
        path = "/apis/networking.k8s.io/v1/servicecidrs"
        created = await client.post(path, {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/16"]}})
        await client.post(path, {"metadata": {"name": "none"}, "spec": {}}, code=422)
        found = {
            item["metadata"]["name"]: item["spec"]["cidrs"] for item in (await client.get(path))["items"]
        }
        await client.request("DELETE", f"{path}/more")
        return created, found

    created, found = run(scenario, tmp_path)
    assert [(entry["type"], entry["status"]) for entry in created["status"]["conditions"]] == [
        ("Ready", "True")
    ]
    assert found == {"kubernetes": ["10.96.0.0/16"], "more": ["10.97.0.0/16"]}


def test_a_dry_run_of_no_known_sort_does_nothing(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        path = "/api/v1/namespaces/default/configmaps"
        there = await client.post(path, config_map("x", a="1"))
        for query in ("?dryRun=Some", "?dryRun=", "?dryRun=All&dryRun=Some"):
            await client.post(path + query, config_map("y"), code=422)
            await client.request("PUT", f"{path}/x{query}", config_map("x"), code=422)
            await client.patch(f"{path}/x{query}", {"data": {"a": "2"}}, code=422)
            refused = await client.request("DELETE", f"{path}/x{query}", code=422)
        await client.request("DELETE", f"{path}/x", {"dryRun": ["Bogus"]}, code=422)
        await client.request("DELETE", f"{path}?dryRun=Some", code=422)
        await client.request("DELETE", f"{path}/x?dryRun=All", {"gracePeriodSeconds": 0})

        assert refused["message"] == (
            'DeleteOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["All","Some"]: '
            'supported values: "All"'
        )
        assert (await client.get(path))["items"] == [
            {name: entry for name, entry in there.items() if name not in {"kind", "apiVersion"}}
        ]

    run(scenario, tmp_path)
