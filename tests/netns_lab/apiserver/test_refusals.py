"""Refusals over HTTP, shaped as a real server's (recordings of 1.36)."""

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
    namespace,
    run,
    service,
)

ALREADY_CHANGED = (
    "the object has been modified; please apply your changes to the latest version and try again"
)


def failure(code: int, reason: str, message: str, **more: Any) -> Any:
    head = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    return {**head, "reason": reason, **more, "code": code}


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
