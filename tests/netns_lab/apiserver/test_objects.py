"""Create, read, update, patch, delete over HTTP; refusals shaped as a real server's (recordings of 1.36)."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.netns_lab.apiserver.etcd import etcd
from tests.netns_lab.apiserver.running import (
    SHOP,
    SLICES,
    Client,
    config_map,
    eventually,
    namespace,
    run,
    service,
)

ALREADY_CHANGED = (
    "the object has been modified; please apply your changes to the latest version and try again"
)


def without_varying(value: Any) -> Any:
    """Drop what differs from run to run."""
    varying = ("uid", "creationTimestamp", "resourceVersion")
    return {**value, "metadata": {k: v for k, v in value["metadata"].items() if k not in varying}}


def failure(code: int, reason: str, message: str, **more: Any) -> Any:
    head = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    return {**head, "reason": reason, **more, "code": code}


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


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        pytest.param(
            "GET",
            f"{SHOP}/services/nope",
            None,
            failure(
                404, "NotFound", 'services "nope" not found', details={"name": "nope", "kind": "services"}
            ),
            id="not found",
        ),
        pytest.param(
            "GET",
            f"{SLICES}/nope",
            None,
            failure(
                404,
                "NotFound",
                'endpointslices.discovery.k8s.io "nope" not found',
                details={"name": "nope", "group": "discovery.k8s.io", "kind": "endpointslices"},
            ),
            id="not found, with its group",
        ),
        pytest.param(
            "GET",
            "/api/v1/secrets",
            None,
            failure(404, "NotFound", "the server could not find the requested resource", details={}),
            id="no such resource",
        ),
        pytest.param(
            "POST",
            "/api/v1/namespaces/nope/services",
            service("web"),
            failure(
                404, "NotFound", 'namespaces "nope" not found', details={"name": "nope", "kind": "namespaces"}
            ),
            id="no such namespace",
        ),
        pytest.param(
            "POST",
            f"{SHOP}/configmaps",
            config_map("there"),
            failure(
                409,
                "AlreadyExists",
                'configmaps "there" already exists',
                details={"name": "there", "kind": "configmaps"},
            ),
            id="already exists",
        ),
        pytest.param(
            "PUT",
            f"{SHOP}/configmaps/there",
            {"metadata": {"name": "there", "resourceVersion": "1"}},
            failure(
                409,
                "Conflict",
                f'Operation cannot be fulfilled on configmaps "there": {ALREADY_CHANGED}',
                details={"name": "there", "kind": "configmaps"},
            ),
            id="another version is current",
        ),
        pytest.param(
            "POST",
            f"{SHOP}/services",
            {"metadata": {"name": "web"}, "spec": {}},
            failure(
                422,
                "Invalid",
                'Service "web" is invalid: spec.ports: Required value',
                details={
                    "name": "web",
                    "kind": "Service",
                    "causes": [
                        {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.ports"}
                    ],
                },
            ),
            id="a missing field",
        ),
        pytest.param(
            "DELETE",
            "/api/v1/namespaces/default",
            None,
            failure(
                403,
                "Forbidden",
                'namespaces "default" is forbidden: this namespace may not be deleted',
                details={"name": "default", "kind": "namespaces"},
            ),
            id="forbidden",
        ),
        pytest.param(
            "DELETE",
            "/api/v1/namespaces",
            None,
            failure(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
                details={},
            ),
            id="no such verb",
        ),
    ],
)
def test_refusals_say_what_a_real_server_says(
    tmp_path: Path, method: str, path: str, body: Any, expected: Any
) -> None:
    async def scenario(client: Client) -> Any:
        await client.post("/api/v1/namespaces", namespace())
        await client.post(f"{SHOP}/configmaps", config_map("there"))
        return await client.request(method, path, body, code=expected["code"])

    assert run(scenario, tmp_path) == expected


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param({"metadata": {"name": "x"}, "kind": "Pod"}, 400, id="another kind"),
        pytest.param({"metadata": {"name": "x", "namespace": "other"}}, 400, id="another namespace"),
        pytest.param({"metadata": {"name": "x", "resourceVersion": "1"}}, 400, id="a version"),
        pytest.param({"metadata": "x"}, 400, id="no metadata"),
        pytest.param({"metadata": {"name": "x"}, "data": {"a": 1}}, 400, id="a wrong type"),
        pytest.param({"metadata": {}}, 422, id="no name"),
        pytest.param({"metadata": {"name": "X"}}, 422, id="a wrong name"),
        pytest.param({"metadata": {"name": "x" * 254}}, 422, id="a long name"),
        pytest.param([], 400, id="no object"),
    ],
)
def test_an_object_that_is_wrong_is_not_created(tmp_path: Path, body: Any, code: int) -> None:
    async def scenario(client: Client) -> Any:
        return await client.post("/api/v1/namespaces/default/configmaps", body, code=code)

    assert run(scenario, tmp_path)["code"] == code


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


def test_who_has_no_token_stays_out(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        client.http.headers["authorization"] = "Bearer wrong"
        refused = await client.get("/api/v1/services", code=401)
        health = await client.http.get("/readyz")

        assert refused == failure(401, "Unauthorized", "Unauthorized")
        assert (health.status_code, health.text) == (200, "ok")
        assert (await client.get("/version"))["major"] == "1"
        token = client.server.rotate_token()
        client.http.headers["authorization"] = f"Bearer {token}"
        await client.get("/api/v1/services")

    run(scenario, tmp_path)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        pytest.param(
            1_499_000,
            r"Request entity too large: the object has 1499\d\d\d bytes, limit is 1499000",
            id="too large to be stored",
        ),
        pytest.param(3 << 20, "Request entity too large: limit is 3145728", id="too large to be read"),
    ],
)
def test_too_large_an_object_is_refused(tmp_path: Path, size: int, message: str) -> None:
    async def scenario(client: Client) -> Any:
        await client.post("/api/v1/namespaces", namespace())
        created = await client.post(f"{SHOP}/configmaps", config_map("c", a="x" * size), code=413)
        await client.post(f"{SHOP}/configmaps", config_map("c", a="x"))
        patched = await client.patch(f"{SHOP}/configmaps/c", {"data": {"a": "x" * size}}, code=413)
        return created, patched

    for refused in run(scenario, tmp_path):
        assert (refused["reason"], refused["code"]) == ("RequestEntityTooLarge", 413)
        assert re.fullmatch(message, refused["message"])


def test_the_largest_object_can_be_changed_and_deleted(tmp_path: Path) -> None:
    """Over etcd, whose requests have a limit; with a finalizer, so that the deletion adds to it."""

    async def scenario(client: Client) -> Any:
        maps = "/api/v1/namespaces/default/configmaps"
        largest = config_map("c", a="x" * 1_498_500)
        largest["metadata"]["finalizers"] = ["example.org/a", "example.org/b"]
        created = await client.post(maps, largest)
        changed = await client.patch(f"{maps}/c", {"data": {"a": "y" * 1_498_500}})
        marked = await client.request("DELETE", f"{maps}/c")
        less = await client.patch(f"{maps}/c", {"metadata": {"finalizers": ["example.org/a"]}})
        await client.patch(f"{maps}/c", {"metadata": {"finalizers": None}})
        await client.get(f"{maps}/c", code=404)
        return [int(entry["metadata"]["resourceVersion"]) for entry in (created, changed, marked, less)]

    with etcd(tmp_path) as address:
        revisions = run(scenario, tmp_path, store=f"etcd://{address}/nodeplane")
    assert revisions == list(range(revisions[0], revisions[0] + 4))


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


DEEP = 100_000
BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 9)]
)


@pytest.mark.parametrize(
    ("media_type", "body", "code"),
    [
        pytest.param("json", "[" * DEEP + "]" * DEEP, 400, id="JSON"),
        pytest.param("json", '{"a":' * DEEP + "1" + "}" * DEEP, 400, id="mappings"),
        pytest.param("json", '{"data":' + "[" * 400 + "]" * 400 + "}", 400, id="deeper than objects are"),
        pytest.param("yaml", "[" * DEEP + "]" * DEEP, 400, id="YAML"),
        pytest.param("yaml", "a: &a [*a]", 400, id="a list in itself"),
        pytest.param("yaml", BOMB, 413, id="aliases of aliases"),
        pytest.param(
            "yaml", f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 100)}]", 413, id="a long alias"
        ),
        pytest.param(
            "yaml", "metadata: {name: x}\ndata: &a {b: c}\nbinaryData: *a", 422, id="aliases in use"
        ),
    ],
)
def test_a_body_that_is_more_than_it_seems(tmp_path: Path, media_type: str, body: str, code: int) -> None:
    async def scenario(client: Client) -> Any:
        headers = {"content-type": f"application/{media_type}"}
        answer = await client.http.post(
            "/api/v1/namespaces/default/configmaps", content=body, headers=headers
        )
        return answer.status_code, answer.json()["code"]

    assert run(scenario, tmp_path) == (code, code)


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "PURGE"])
@pytest.mark.parametrize("path", ["/api/v1/nodes", "/version", "/"])
def test_methods_that_no_resource_has(tmp_path: Path, method: str, path: str) -> None:
    async def scenario(client: Client) -> Any:
        return await client.request(method, path, code=405)

    message = "the server does not allow this method on the requested resource"
    assert run(scenario, tmp_path) == failure(405, "MethodNotAllowed", message, details={})
